//! Sets of completion indexes as text: `1,3-5,7`.

use grammar::go;

/// How many indexes `text` names, each below `completions` and in rising order.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    let mut total = 0;
    let mut last: Option<i64> = None;
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = parse(interval, completions)?;
        if let Some(last) = last
            && last >= first
        {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn parse(interval: &str, completions: i64) -> Result<(i64, i64), String> {
    let number = |text: &str| -> Result<i64, String> {
        let number: i64 = text
            .parse()
            .map_err(|_| format!("cannot convert string to integer for index: {}", go::quote(text)))?;
        match number >= completions {
            true => Err(format!("too large index: {}", go::quote(text))),
            false => Ok(number),
        }
    };
    match interval.split('-').collect::<Vec<_>>()[..] {
        [one] => number(one).map(|one| (one, one)),
        [first, end] => {
            let (first, end) = (number(first)?, number(end)?);
            match first < end {
                true => Ok((first, end)),
                false => Err(format!("non-increasing order, previous: {first}, current: {end}")),
            }
        }
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated \
             by '-'",
            go::quote(interval)
        )),
    }
}

/// The first index that both texts name. Intervals that cannot be read name none.
pub(super) fn overlap(a: &str, b: &str, completions: i64) -> Option<i64> {
    let intervals = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|interval| parse(interval, completions).ok()).collect()
    };
    let (a, b) = (intervals(a), intervals(b));
    let (mut i, mut j) = (0, 0);
    while let (Some((a_first, a_end)), Some((b_first, b_end))) = (a.get(i), b.get(j)) {
        if a_first <= b_end && b_first <= a_end {
            return Some(*a_first.max(b_first));
        }
        if a_first <= b_first {
            i += 1;
        } else {
            j += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted_in_rising_order() {
        assert_eq!(count("", 5), Ok(0));
        assert_eq!(count("0,2-4", 5), Ok(4));
        assert_eq!(count("5", 5), Err("too large index: \"5\"".to_owned()));
        assert_eq!(count("3,2", 5), Err("non-increasing order, previous: 3, current: 2".to_owned()));
        assert_eq!(count("x", 5), Err("cannot convert string to integer for index: \"x\"".to_owned()));
    }

    #[test]
    fn overlaps_are_found() {
        assert_eq!(overlap("0-2,5", "3-4", 9), None);
        assert_eq!(overlap("0-2,5", "3-7", 9), Some(5));
        assert_eq!(overlap("x,1", "1", 9), Some(1));
    }
}
