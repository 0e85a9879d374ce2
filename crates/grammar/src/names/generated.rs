//! Names that the system makes up: `generateName` suffixes and hashes in names.

/// A generated name is at most this long before its suffix, so that it fits a DNS label with it.
pub const MAX_GENERATED_NAME_LENGTH: usize = 63 - SUFFIX_LENGTH;
const SUFFIX_LENGTH: usize = 5;

/// No vowels and nothing that looks like one, so that no words come out.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// `base`, cut to leave room, and five random characters. `random` gives 64 fresh bits a call.
pub fn generate_name(base: &str, random: impl FnMut() -> u64) -> String {
    let cut = base.floor_char_boundary(MAX_GENERATED_NAME_LENGTH);
    format!("{}{}", &base[..cut], random_suffix(SUFFIX_LENGTH, random))
}

/// `length` characters of the safe alphabet, each equally likely.
pub fn random_suffix(length: usize, mut random: impl FnMut() -> u64) -> String {
    // Five bits index 32 places of which 27 are used. The rest are drawn again rather than folded back, which would
    // favour some characters.
    const BITS: u32 = 5;
    let mut suffix = String::with_capacity(length);
    while suffix.len() < length {
        let mut word = random();
        for _ in 0..u64::BITS / BITS {
            let place = (word & ((1 << BITS) - 1)) as usize;
            word >>= BITS;
            if let (Some(byte), true) = (ALPHABET.get(place), suffix.len() < length) {
                suffix.push(char::from(*byte));
            }
        }
    }
    suffix
}

/// Folds a text, usually a hash in decimal, into the alphabet of generated names.
pub fn safe_encode(text: &str) -> String {
    text.chars().map(|c| char::from(ALPHABET[c as usize % ALPHABET.len()])).collect()
}

/// FNV-1, which names controller revisions.
pub fn fnv32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(FNV_OFFSET, |hash, byte| hash.wrapping_mul(FNV_PRIME) ^ u32::from(*byte))
}

/// FNV-1a, which names replica sets and pods of stateful workloads.
pub fn fnv32a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(FNV_OFFSET, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(FNV_PRIME))
}

const FNV_OFFSET: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_fit_a_label_and_use_the_whole_alphabet() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state ^ (state >> 29)
        };
        assert_eq!(generate_name(&"x".repeat(200), &mut random).len(), 63);
        assert_eq!(generate_name(&"é".repeat(200), &mut random).chars().count(), 29 + 5);
        assert!(generate_name("web-", &mut random).starts_with("web-"));

        let drawn = random_suffix(5_000, &mut random);
        for byte in ALPHABET {
            let count = drawn.bytes().filter(|other| other == byte).count();
            assert!((100..300).contains(&count), "{} was drawn {count} times", char::from(*byte));
        }
    }
}
