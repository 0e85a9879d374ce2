//! Amounts that pods request and nodes offer, in the scheduler's own units.

/// CPU that a container without a request is taken to need when nodes are scored, in thousandths.
pub const DEFAULT_CPU: i64 = 100;
/// Memory that a container without a request is taken to need when nodes are scored.
pub const DEFAULT_MEMORY: i64 = 200 << 20;

/// What a pod requests, or what a node has. CPU in thousandths, everything else in whole units.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    pub cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// Extended resources, huge pages and attachable volumes, sorted by name, none of them zero.
    scalars: Vec<(Box<str>, i64)>,
}

/// Processor and memory alone, which is what the scores look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Compute {
    pub cpu: i64,
    pub memory: i64,
}

impl Resources {
    pub fn new(cpu: i64, memory: i64) -> Resources {
        Resources { cpu, memory, ..Resources::default() }
    }

    pub fn with(mut self, name: &str, amount: i64) -> Resources {
        self.add_scalar(name, amount);
        self
    }

    pub fn scalars(&self) -> impl Iterator<Item = (&str, i64)> {
        self.scalars.iter().map(|(name, amount)| (&**name, *amount))
    }

    pub fn scalar(&self, name: &str) -> i64 {
        self.position(name).map_or(0, |at| self.scalars[at].1)
    }

    pub fn is_zero(&self) -> bool {
        self.cpu == 0 && self.memory == 0 && self.ephemeral_storage == 0 && self.scalars.is_empty()
    }

    pub const fn compute(&self) -> Compute {
        Compute { cpu: self.cpu, memory: self.memory }
    }

    pub fn add(&mut self, other: &Resources) {
        self.combine(other, i64::saturating_add);
    }

    pub fn sub(&mut self, other: &Resources) {
        self.combine(other, i64::saturating_sub);
    }

    /// Adds to one scalar resource; an amount that comes to zero is forgotten.
    pub fn add_scalar(&mut self, name: &str, amount: i64) {
        self.change_scalar(name, |own| own.saturating_add(amount));
    }

    fn combine(&mut self, other: &Resources, with: fn(i64, i64) -> i64) {
        self.cpu = with(self.cpu, other.cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            self.change_scalar(name, |own| with(own, *amount));
        }
    }

    fn change_scalar(&mut self, name: &str, change: impl FnOnce(i64) -> i64) {
        match self.position(name) {
            Ok(at) => {
                self.scalars[at].1 = change(self.scalars[at].1);
                if self.scalars[at].1 == 0 {
                    self.scalars.remove(at);
                }
            }
            Err(at) => {
                let amount = change(0);
                if amount != 0 {
                    self.scalars.insert(at, (name.into(), amount));
                }
            }
        }
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.scalars.binary_search_by(|(own, _)| (**own).cmp(name))
    }
}

impl Compute {
    pub fn add(&mut self, other: Compute) {
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.memory = self.memory.saturating_add(other.memory);
    }

    pub fn sub(&mut self, other: Compute) {
        self.cpu = self.cpu.saturating_sub(other.cpu);
        self.memory = self.memory.saturating_sub(other.memory);
    }
}

/// Whether a resource beside processor, memory and ephemeral storage is one that nodes are filled by.
pub fn is_scalar(name: &str) -> bool {
    let extended = name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
    let native = name.contains("kubernetes.io/");
    extended || native || name.starts_with("hugepages-") || name.starts_with("attachable-volumes-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_and_taken_away_leaves_no_trace() {
        let mut sum = Resources::new(100, 1 << 20).with("example.com/gpu", 2);
        let more = Resources::new(50, 5).with("example.com/gpu", 1).with("hugepages-2Mi", 4);
        let before = sum.clone();
        sum.add(&more);
        assert_eq!((sum.cpu, sum.scalar("example.com/gpu"), sum.scalar("hugepages-2Mi")), (150, 3, 4));
        sum.sub(&more);
        assert_eq!(sum, before);
    }

    #[test]
    fn only_some_names_fill_nodes() {
        let cases = [
            ("example.com/gpu", true),
            ("hugepages-2Mi", true),
            ("attachable-volumes-csi-x", true),
            ("kubernetes.io/thing", true),
            ("requests.example.com/gpu", false),
            ("gpu", false),
            ("storage", false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_scalar(name), expected, "{name}");
        }
    }
}
