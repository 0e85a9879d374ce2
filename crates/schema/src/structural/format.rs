//! String formats, as upstream's registry checks them. Formats that it does not know are ignored.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

/// Whether a text has a format.
pub(super) type Check = fn(&str) -> bool;

/// The format, where it means something for these types; dashes in its name do not count.
pub(super) fn supported<'a>(types: &[String], format: &'a str) -> &'a str {
    let kind = match types {
        [only] => only.as_str(),
        _ => "",
    };
    let known = match kind {
        "" | "string" => check(format).is_some(),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    };
    if known { format } else { "" }
}

/// Formats in CRD schemas that upstream does not recognise, which it warns of.
pub fn is_recognised(kind: &str, format: &str) -> bool {
    format.is_empty() || !supported(&[kind.to_string()], format).is_empty()
}

pub(super) fn check(format: &str) -> Option<Check> {
    let name: String = format.chars().filter(|&c| c != '-').collect();
    Some(match name.as_str() {
        "bsonobjectid" => |t| t.len() == 24 && t.bytes().all(|b| b.is_ascii_hexdigit()),
        "uri" => is_request_uri,
        "email" => is_email,
        "hostname" => is_hostname,
        "ipv4" => |t| sloppy_ip(t).is_some() && t.contains('.'),
        "ipv6" => |t| t.contains(':') && strict_ipv6(t),
        "cidr" => is_cidr,
        "mac" => is_mac,
        "uuid" => |t| uuid(t, b"", b""),
        "uuid3" => |t| uuid(t, b"3", b""),
        "uuid4" => |t| uuid(t, b"4", b"89abAB"),
        "uuid5" => |t| uuid(t, b"5", b"89abAB"),
        "isbn" => |t| is_isbn10(t) || is_isbn13(t),
        "isbn10" => is_isbn10,
        "isbn13" => is_isbn13,
        "creditcard" => is_credit_card,
        "ssn" => is_ssn,
        "hexcolor" => is_hex_colour,
        "rgbcolor" => |t| RGB.is_match(t),
        "byte" => is_base64,
        "password" => |_| true,
        "date" => is_date,
        "duration" => is_duration,
        "datetime" => is_date_time,
        "k8sshortname" => |t| t.len() <= 63 && is_short_name(t),
        "k8slongname" => |t| t.len() <= 253 && t.split('.').all(is_short_name),
        _ => return None,
    })
}

fn expression(source: &str) -> Regex {
    Regex::new(source).expect("the crate's own expressions compile: tests use each")
}

static RGB: LazyLock<Regex> = LazyLock::new(|| {
    const PART: &str = r"[\t\n\f\r ]*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])[\t\n\f\r ]*";
    expression(&format!(r"^rgb\({PART},{PART},{PART}\)$"))
});

static HOSTNAME: LazyLock<Regex> = LazyLock::new(|| {
    // One label with optional single dashes, or dotted labels before a top level of letters.
    let any = r"a-zA-Z0-9\p{S}\p{L}";
    expression(&format!(
        r"^([{any}]((-?[{any}]{{0,62}})?)|([{any}](([{any}-]{{0,61}}[{any}])?)(\.)){{1,}}([a-zA-Z\p{{L}}]){{2,63}})$"
    ))
});

static CREDIT_CARD: LazyLock<Regex> = LazyLock::new(|| {
    expression(concat!(
        "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}",
        "|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$"
    ))
});

static DURATION_PART: LazyLock<Regex> = LazyLock::new(|| expression(r"([0-9]+)[\t\n\f\r ]*([A-Za-zµ]+)"));

/// An absolute path or an absolute URI, as Go parses them for HTTP requests.
fn is_request_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return false;
    }
    if text == "*" {
        return true;
    }
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        Some(("", _)) => return false,
        _ => ("", text),
    };
    // A fragment is not special in a request, and a query is not checked.
    let path = rest.split('?').next().unwrap_or_default();
    if !path.starts_with('/') {
        return !scheme.is_empty();
    }
    let (authority, path) =
        match path.strip_prefix("//").filter(|_| !scheme.is_empty() || !path.starts_with("///")) {
            Some(after) => match after.find('/') {
                Some(slash) => (Some(&after[..slash]), &after[slash..]),
                None => (Some(after), ""),
            },
            None => (None, path),
        };
    well_escaped(path) && authority.is_none_or(is_authority)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn well_escaped(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().filter(|(_, b)| **b == b'%').all(|(at, _)| {
        bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

fn is_authority(text: &str) -> bool {
    let (user, host) = text.rsplit_once('@').map_or((None, text), |(user, host)| (Some(user), host));
    let is_user = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if user.is_some_and(|user| !user.chars().all(is_user) || !well_escaped(user)) {
        return false;
    }
    let is_port = |port: &str| {
        port.is_empty()
            || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
    };
    if let Some(inner) = host.strip_prefix('[') {
        return match inner.rsplit_once(']') {
            Some((address, port)) => {
                let address = address.split('%').next().unwrap_or_default();
                is_port(port) && address.contains(':') && address.parse::<Ipv6Addr>().is_ok()
            }
            None => false,
        };
    }
    let port_at = host.find(':').unwrap_or(host.len());
    let is_host =
        |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!$&'()*+,;=[]<>\"-_.~%".contains(c);
    // In a host only bytes beyond ASCII, and the percent sign itself, may be escaped.
    let hides_ascii = |at: usize| {
        matches!(host.as_bytes().get(at + 1), Some(b'0'..=b'7')) && !host[at..].starts_with("%25")
    };
    is_port(&host[port_at..])
        && host[..port_at].chars().all(is_host)
        && well_escaped(host)
        && !host.match_indices('%').any(|(at, _)| hides_ascii(at))
}

/// An address as in a mail header, with or without a display name.
fn is_email(text: &str) -> bool {
    let text = text.trim_matches([' ', '\t']);
    let address = match text.strip_suffix('>') {
        Some(rest) => match rest.rsplit_once('<') {
            Some((name, address)) if is_phrase(name.trim()) => address,
            _ => return false,
        },
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let local_fits = match local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => !quoted.contains(['"', '\n', '\r']),
        None => local.split('.').all(is_atom),
    };
    let domain_fits = match domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.strip_prefix("IPv6:").unwrap_or(literal).parse::<std::net::IpAddr>().is_ok(),
        None => domain.split('.').all(is_atom),
    };
    local_fits && domain_fits
}

fn is_atom(text: &str) -> bool {
    let fits = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    !text.is_empty() && text.chars().all(fits)
}

fn is_phrase(text: &str) -> bool {
    let quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    quoted || text.split_whitespace().all(|word| word.split('.').all(|part| part.is_empty() || is_atom(part)))
}

fn is_hostname(text: &str) -> bool {
    HOSTNAME.is_match(text) && text.len() <= 255 && text.split('.').all(|label| label.len() <= 63)
}

/// Go before 1.17 let numbers of an address begin with zeros, and so do these formats.
fn sloppy_ip(text: &str) -> Option<std::net::IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(Into::into);
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))?;
        *octet =
            part.trim_start_matches('0').parse().ok().or((part.trim_matches('0').is_empty()).then_some(0))?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets).into())
}

fn strict_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let digits = !length.is_empty() && length.len() <= 3 && length.bytes().all(|b| b.is_ascii_digit());
    let longest = match sloppy_ip(address) {
        Some(std::net::IpAddr::V4(_)) => 32,
        Some(std::net::IpAddr::V6(_)) => 128,
        None => return false,
    };
    digits && length.parse::<u32>().is_ok_and(|length| length <= longest)
}

/// 6, 8 or 20 bytes, in pairs parted by colons or dashes, in fours parted by dots, or in one run.
fn is_mac(text: &str) -> bool {
    let groups = |separator: char, width: usize| {
        let parts: Vec<&str> = text.split(separator).collect();
        let well_formed = parts.iter().all(|p| p.len() == width && p.bytes().all(|b| b.is_ascii_hexdigit()));
        well_formed && matches!(parts.len() * width / 2, 6 | 8 | 20)
    };
    let run = matches!(text.len(), 12 | 16 | 40) && text.bytes().all(|b| b.is_ascii_hexdigit());
    run || groups(':', 2) || groups('-', 2) || groups('.', 4)
}

/// Dashes are optional each by itself; `version` and `variant` restrict a digit each where not empty.
fn uuid(text: &str, version: &[u8], variant: &[u8]) -> bool {
    let mut rest = text.as_bytes();
    for (at, width) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix(b"-").unwrap_or(rest);
        }
        let Some((group, after)) = rest.split_at_checked(width) else { return false };
        let restriction = match at {
            2 => version,
            3 => variant,
            _ => b"",
        };
        if !group.iter().all(u8::is_ascii_hexdigit)
            || !(restriction.is_empty() || restriction.contains(&group[0]))
        {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

fn isbn_digits(text: &str) -> Vec<u8> {
    text.bytes().filter(|b| !matches!(b, b'\t' | b'\n' | 0x0c | b'\r' | b' ' | b'-')).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = isbn_digits(text);
    if digits.len() != 10 || !digits[..9].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let last = match digits[9] {
        b'X' => 10,
        digit if digit.is_ascii_digit() => u32::from(digit - b'0'),
        _ => return false,
    };
    let sum: u32 = digits[..9].iter().zip(1..).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    (sum + 10 * last).is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let digits = isbn_digits(text);
    if digits.len() != 13 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let weighted = |(at, digit): (usize, &u8)| u32::from(digit - b'0') * if at % 2 == 0 { 1 } else { 3 };
    digits.iter().enumerate().map(weighted).sum::<u32>().is_multiple_of(10)
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if !CREDIT_CARD.is_match(&digits) {
        return false;
    }
    let luhn = |(at, digit): (usize, u8)| match u32::from(digit - b'0') {
        value if at % 2 == 0 => value,
        value => value * 2 / 10 + value * 2 % 10,
    };
    digits.bytes().rev().enumerate().map(luhn).sum::<u32>().is_multiple_of(10)
}

fn is_ssn(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 11
        && bytes.iter().enumerate().all(|(at, b)| match at {
            3 | 6 => matches!(b, b'-' | b' '),
            _ => b.is_ascii_digit(),
        })
}

fn is_hex_colour(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Upstream's expression needs at least one group of four.
fn is_base64(text: &str) -> bool {
    let unpadded = text.trim_end_matches('=');
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - unpadded.len() <= 2
        && unpadded.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let well_formed = bytes.len() == 10
        && bytes
            .iter()
            .enumerate()
            .all(|(at, b)| if at == 4 || at == 7 { *b == b'-' } else { b.is_ascii_digit() });
    if !well_formed {
        return false;
    }
    let number = |range: std::ops::Range<usize>| text[range].parse::<u32>().unwrap_or(0);
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    is_date(date) && is_time(time)
}

/// `hh:mm:ss`, an optional fraction after any one character, and a zone.
fn is_time(text: &str) -> bool {
    static TIME: LazyLock<Regex> = LazyLock::new(|| {
        expression(r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$")
    });
    TIME.captures(text).is_some_and(|m| &m[1] <= "23" && &m[2] <= "59" && &m[3] <= "59")
}

/// A Go duration, or numbers with the names of units in any prose.
fn is_duration(text: &str) -> bool {
    if is_go_duration(text) {
        return true;
    }
    const SHORT: [&str; 14] =
        ["ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk", "nano", "micro", "milli"];
    const LONG: [&str; 8] = ["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    let mut found = false;
    for part in DURATION_PART.captures_iter(text) {
        if part[1].parse::<i64>().is_err() {
            return false;
        }
        let unit = part[2].to_lowercase();
        found |= SHORT.contains(&unit.as_str()) || LONG.iter().any(|long| unit.starts_with(long));
    }
    found
}

fn is_go_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return false,
        };
        match number.parse::<f64>() {
            Ok(number) => total += number * scale,
            Err(_) => return false,
        }
        rest = after;
    }
    !text.is_empty() && total < i64::MAX as f64 && !matches!(text, "-" | "+")
}

fn is_short_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
