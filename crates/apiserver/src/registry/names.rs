//! Names and uids that the server makes up.

use base::random::Random;
use parking_lot::Mutex;

/// The letters of generated names: no vowels, so that no words come about, and no digits that look like letters.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

const SUFFIX: usize = 5;
const MAX_BASE: usize = 63 - SUFFIX;

/// The source of suffixes and uids.
pub struct Names {
    random: Mutex<Box<dyn Random>>,
}

impl Names {
    pub fn new(random: Box<dyn Random>) -> Names {
        Names { random: Mutex::new(random) }
    }

    /// `base` and five random characters, cut so that the whole is a label.
    pub fn generate(&self, base: &str) -> String {
        let mut name: String = base.chars().take(MAX_BASE).collect();
        let mut random = self.random.lock();
        for _ in 0..SUFFIX {
            name.push(char::from(ALPHABET[random.below(ALPHABET.len() as u64) as usize]));
        }
        name
    }

    /// A version 4 UUID.
    pub fn uid(&self) -> String {
        let mut bytes = [0; 16];
        self.random.lock().fill(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// A number below `bound`, for spreading time-outs.
    pub fn below(&self, bound: u64) -> u64 {
        self.random.lock().below(bound)
    }
}
