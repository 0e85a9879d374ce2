//! The table of one family and the socket to it.

use std::fmt::Write;

use netplan::addr::Family;
use netplan::rules::{At, Chain, Change, Ruleset, Scope, Set};

use super::encode::{Subject, Transaction};
use super::readback;
use crate::netlink::{self, Failure, Messages, Protocol, Socket};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("nftables: {0}")]
    Netlink(#[from] netlink::Error),
    #[error("nftables: the kernel refused {subject}: {reason}")]
    Refused { subject: String, reason: String },
}

/// A transaction is one message to the kernel. Larger ones are split, and then others may see the
/// table half changed; four million elements fit before that.
const TRANSACTION_BYTES: usize = 256 * 1024 * 1024;

/// The table `boga` of one family in the network namespace of the thread that opened it.
pub struct Table {
    family: Family,
    socket: Socket,
    any_address: bool,
}

impl Table {
    /// # Errors
    /// When the kernel has no nftables.
    pub fn open(family: Family, any_address: bool) -> Result<Table, Error> {
        Ok(Table { family, socket: Socket::open(Protocol::Netfilter)?, any_address })
    }

    /// Brings whatever is in the kernel to `wanted`. What is there already stays, clients' affinity
    /// included, unless it was laid out by another version.
    ///
    /// # Errors
    /// When the kernel refuses; the table is then as it was.
    pub fn adopt(&mut self, wanted: &Ruleset) -> Result<(), Error> {
        if readback::layout(&mut self.socket, self.family)? != Some(layout(self.any_address)) {
            return self.load(wanted);
        }
        match readback::ruleset(&mut self.socket, self.family)? {
            Some(present) => {
                let mut change = present.diff(wanted);
                // Kernels before 6.2 refuse to remove a chain together with the element that led to
                // it. One that is left over does no harm, and the next adoption tries again.
                let old_chains = std::mem::take(&mut change.old_chains);
                self.apply(&change)?;
                if let Err(error) = self.apply(&Change { old_chains, ..Change::default() }) {
                    tracing::debug!(%error, "chains out of use stay for now");
                }
                Ok(())
            }
            None => self.load(wanted),
        }
    }

    /// Replaces the whole table.
    ///
    /// # Errors
    /// When the kernel refuses; the table is then as it was.
    pub fn load(&mut self, wanted: &Ruleset) -> Result<(), Error> {
        let mut transaction = self.begin();
        transaction.new_table(&layout(self.any_address));
        Set::ALL.into_iter().for_each(|set| transaction.new_set(set));
        let chains = || Chain::fixed().chain(wanted.chains.iter().copied());
        chains().for_each(|chain| transaction.new_chain(chain));
        chains().for_each(|chain| transaction.new_rules(chain, self.any_address));
        let elements: Vec<_> =
            wanted.elements.iter().map(|((set, key), value)| (*set, *key, value.clone())).collect();
        transaction.new_elements(&elements);
        self.commit(transaction)
    }

    /// Applies a change as one transaction.
    ///
    /// # Errors
    /// When the kernel refuses; the table is then as it was.
    pub fn apply(&mut self, change: &Change) -> Result<(), Error> {
        let mut transaction = self.begin();
        change.new_chains.iter().for_each(|chain| transaction.new_chain(*chain));
        change.new_chains.iter().for_each(|chain| transaction.new_rules(*chain, self.any_address));
        transaction.delete_elements(&change.removed);
        transaction.new_elements(&change.added);
        change.old_chains.iter().for_each(|chain| transaction.delete_chain(*chain));
        self.commit(transaction)
    }

    /// What the kernel holds; `None` when there is no table of ours or of our layout.
    ///
    /// # Errors
    /// When the kernel refuses to list.
    pub fn read(&mut self) -> Result<Option<Ruleset>, Error> {
        if readback::layout(&mut self.socket, self.family)? != Some(layout(self.any_address)) {
            return Ok(None);
        }
        Ok(readback::ruleset(&mut self.socket, self.family)?)
    }

    /// Removes the table, if there is one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&mut self) -> Result<(), Error> {
        let mut transaction = self.begin();
        transaction.delete_table();
        self.commit(transaction)
    }

    fn begin(&mut self) -> Transaction {
        Transaction::new(self.family, self.socket.next_sequence())
    }

    fn commit(&mut self, mut transaction: Transaction) -> Result<(), Error> {
        if transaction.is_empty() {
            return Ok(());
        }
        transaction.end();
        if transaction.writer.len() > TRANSACTION_BYTES {
            let reason = format!("a transaction of {} bytes is too large", transaction.writer.len());
            return Err(Error::Refused { subject: "the table".to_owned(), reason });
        }
        let failures = self.socket.batch(transaction.writer.bytes())?;
        // One refusal undoes everything, and what follows it is refused for its sake.
        match failures.first() {
            None => Ok(()),
            Some(first) => Err(refused(&transaction, first)),
        }
    }
}

fn refused(transaction: &Transaction, failure: &Failure) -> Error {
    let index = failure.sequence.wrapping_sub(transaction.first) as usize;
    let subject = match transaction.subjects.get(index) {
        None => "the transaction".to_owned(),
        Some((Subject::Table, _)) => "the table".to_owned(),
        Some((Subject::Set(set), _)) => format!("set {}", set.name()),
        Some((Subject::Chain(chain), _)) => format!("chain {chain}"),
        Some((Subject::Rule(chain), _)) => format!("a rule of chain {chain}"),
        Some((Subject::Elements(set), start)) => {
            let element = failure.offset.and_then(|offset| element_at(transaction, *start, offset));
            format!("element {} of {}", element.as_deref().unwrap_or("?"), set.name())
        }
    };
    let mut reason = std::io::Error::from_raw_os_error(failure.errno).to_string();
    if let Some(message) = &failure.message {
        let _ = write!(reason, " ({message})");
    }
    Error::Refused { subject, reason }
}

/// The key of the element that the kernel points at.
fn element_at(transaction: &Transaction, start: usize, offset: usize) -> Option<String> {
    const MESSAGE_HEADER: usize = 16;
    const FIXED: usize = 4;
    let message = Messages(transaction.writer.bytes().get(start..)?).next()?;
    let list = message.attributes(FIXED).get(3)?;
    let position = |inner: &[u8]| (inner.as_ptr() as usize).checked_sub(message.body.as_ptr() as usize);
    // The kernel names the element's attribute, or one inside it.
    let mut elements = list
        .nested()
        .take_while(|element| position(element.value).is_some_and(|at| at + MESSAGE_HEADER - 4 <= offset));
    let mut last = elements.next()?;
    for element in elements {
        last = element;
    }
    let key = last.nested().inside(1).get(1)?.value;
    Some(format!("{:?}", netplan::rules::Key::from_bytes(key)?))
}

/// A name for the sets and rules that this version writes, so that a table of another version is
/// replaced instead of adopted.
fn layout(any_address: bool) -> String {
    let mut text = format!("{any_address} {:?}", Set::ALL.map(|set| (set.name(), set.key(), set.maps_to())));
    let balance = Chain::Balance { at: At::Vip, scope: Scope::Local, count: 2, sticky: 1 };
    let samples = [
        balance,
        Chain::External { at: At::Vip, count: 2, sticky: 0 },
        Chain::ExternalLocal { at: At::NodePort, cluster: 2, local: 1, sticky: 0 },
    ];
    for chain in Chain::fixed().chain(samples) {
        let _ = write!(text, "{chain} {:?}", chain.rules(any_address));
    }
    // FNV-1a: it need not withstand malice.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("services, layout {hash:016x}")
}
