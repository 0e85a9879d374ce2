//! What is in the kernel's table, as a ruleset.

use netplan::addr::{Family, from_bits, to_bits};
use netplan::rules::{Chain, Data, Key, Ruleset, Set, TABLE, Value, Verdict};

use super::encode::{address_of, fixed_header, is_ranged_concatenation, kind};
use super::expressions::verdict;
use crate::netlink::{self, Attributes, Message, Socket};

const FIXED: usize = 4;

/// The layout that the table's comment names; `None` when there is no table.
pub(super) fn layout(socket: &mut Socket, family: Family) -> Result<Option<String>, netlink::Error> {
    let parse = |message: &Message<'_>, found: &mut Vec<String>| {
        const USER_DATA: u16 = 6;
        let attributes = message.attributes(FIXED);
        if attributes.get(1).and_then(|a| a.text()) == Some(TABLE) {
            let comment = attributes.get(USER_DATA).and_then(|a| a.value.get(2..)).unwrap_or_default();
            let text = comment.strip_suffix(&[0]).unwrap_or(comment);
            found.push(String::from_utf8_lossy(text).into_owned());
        }
    };
    let found = socket.dump(kind::GET_TABLE, &fixed_header(family), &|_| {}, &parse)?;
    Ok(found.into_iter().next())
}

/// The variable part of the table. `None` when something in it is not ours to understand.
pub(super) fn ruleset(socket: &mut Socket, family: Family) -> Result<Option<Ruleset>, netlink::Error> {
    let mut rules = Ruleset::default();
    let chains =
        socket.dump(kind::GET_CHAIN, &fixed_header(family), &|_| {}, &|message, found: &mut Vec<_>| {
            let attributes = message.attributes(FIXED);
            if attributes.get(1).and_then(|a| a.text()) == Some(TABLE) {
                found.push(
                    attributes.get(3).and_then(|a| a.text()).and_then(|name| name.parse::<Chain>().ok()),
                );
            }
        })?;
    for chain in chains {
        match chain {
            None => return Ok(None),
            Some(chain) if chain.is_fixed() => {}
            Some(chain) => drop(rules.chains.insert(chain)),
        }
    }
    for set in Set::ALL.into_iter().filter(|set| !set.is_dynamic()) {
        let body = |w: &mut netlink::Writer| {
            w.text(1, TABLE);
            w.text(2, set.name());
        };
        let found = socket.dump(kind::GET_ELEMENTS, &fixed_header(family), &body, &|message, found| {
            let list = message.attributes(FIXED).inside(3);
            found.extend(list.map(|attribute| element(attribute.nested())));
        })?;
        let Some(found) = found.into_iter().collect::<Option<Vec<Element>>>() else { return Ok(None) };
        for (key, value) in joined(set, found, family) {
            rules.elements.insert((set, key), value);
        }
    }
    Ok(Some(rules))
}

/// An element as the kernel lists it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element {
    key: Key,
    value: Value,
    is_end: bool,
}

pub(super) fn element(attributes: Attributes<'_>) -> Option<Element> {
    const INTERVAL_END: u32 = 1;
    let key_at = |kind: u16| Key::from_bytes(attributes.inside(kind).get(1)?.value);
    let data = match attributes.get(2).map(|a| a.nested()) {
        None => Data::Nothing,
        Some(data) => match data.get(1) {
            Some(value) => Data::Endpoint(Key::from_bytes(value.value)?),
            None => Data::Verdict(verdict_of(data.inside(2))?),
        },
    };
    let is_end =
        attributes.get(3).and_then(|flags| flags.be32()).is_some_and(|flags| flags & INTERVAL_END != 0);
    Some(Element { key: key_at(1)?, value: Value { end: key_at(10), data }, is_end })
}

fn verdict_of(attributes: Attributes<'_>) -> Option<Verdict> {
    match attributes.get(1)?.be32()? as i32 {
        verdict::DROP => Some(Verdict::Drop),
        verdict::GOTO => Some(Verdict::Goto(attributes.get(2)?.text()?.parse().ok()?)),
        _ => None,
    }
}

/// Puts the two elements of a range of one part together again.
fn joined(set: Set, found: Vec<Element>, family: Family) -> Vec<(Key, Value)> {
    if !set.is_interval() || is_ranged_concatenation(set) {
        return found.into_iter().map(|element| (element.key, element.value)).collect();
    }
    let bits = |element: &Element| address_of(&element.key).map(to_bits);
    let (ends, starts): (Vec<Element>, Vec<Element>) = found.into_iter().partition(|element| element.is_end);
    let mut ends: Vec<u128> = ends.iter().filter_map(bits).collect();
    ends.sort_unstable();
    let last = match family {
        Family::V4 => u128::from(u32::MAX),
        Family::V6 => u128::MAX,
    };
    starts
        .into_iter()
        .filter_map(|start| {
            let first = bits(&start)?;
            let over = ends.get(ends.partition_point(|end| *end <= first));
            let end = from_bits(family, over.map_or(last, |over| over - 1));
            Some((start.key, Value::up_to(Key::new().address(end))))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reply_breaks_the_parser() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            let elements: Vec<Element> =
                Attributes(bytes).filter_map(|attribute| element(attribute.nested())).collect();
            joined(Set::PodCidrs, elements, Family::V4);
        });
    }
}
