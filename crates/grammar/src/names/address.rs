//! IP addresses and CIDRs, in the strict form for new fields and the forgiving one for old.

use crate::field::{self, ErrorList, Path};
use crate::go::quote;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address and the length of its network prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub prefix: u8,
}

impl Cidr {
    /// The same prefix with every bit beyond it cleared.
    pub fn network(self) -> Cidr {
        let address = match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Cidr { address, prefix: self.prefix }
    }

    /// An IPv4-mapped IPv6 prefix becomes the IPv4 prefix it stands for.
    fn unmapped(self) -> Cidr {
        match unmap(self.address) {
            address @ IpAddr::V4(_) if self.address.is_ipv6() => {
                Cidr { address, prefix: self.prefix.saturating_sub(96) }
            }
            _ => self,
        }
    }

    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && Cidr { address, prefix: self.prefix }.network() == self.network()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Reads an address as Go did before it refused leading zeros: each number may have any count of them.
pub fn parse_ip_sloppy(value: &str) -> Option<IpAddr> {
    without_leading_zeros(value).parse().ok()
}

/// Reads a CIDR with leading zeros in its address and its prefix length, and bits set beyond the prefix.
pub fn parse_cidr_sloppy(value: &str) -> Option<Cidr> {
    let (address, prefix) = value.split_once('/')?;
    let address = parse_ip_sloppy(address)?;
    let digits = prefix.trim_start_matches('0');
    let is_number = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix: u8 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (is_number && prefix <= longest).then_some(Cidr { address, prefix })
}

/// An address in canonical form.
pub fn valid_ip(path: &Path<'_>, value: &str) -> ErrorList {
    match check_ip(path, value, true) {
        Err(errors) => errors,
        Ok(ip) => canonical(path, value, &ip.to_string()),
    }
}

/// An address in a field older than strict validation. Values in `old_values` stay valid on update.
pub fn valid_ip_for_legacy_field(
    path: &Path<'_>,
    value: &str,
    strict: bool,
    old_values: &[&str],
) -> ErrorList {
    if old_values.contains(&value) {
        return ErrorList::new();
    }
    check_ip(path, value, strict).err().unwrap_or_default()
}

/// A network in canonical form, no bits set beyond its prefix.
pub fn valid_cidr(path: &Path<'_>, value: &str) -> ErrorList {
    match check_cidr(path, value, true) {
        Err(errors) => errors,
        Ok(cidr) => canonical(path, value, &cidr.network().unmapped().to_string()),
    }
}

/// A network in a field older than strict validation. Values in `old_values` stay valid on update.
pub fn valid_cidr_for_legacy_field(
    path: &Path<'_>,
    value: &str,
    strict: bool,
    old_values: &[&str],
) -> ErrorList {
    if old_values.contains(&value) {
        return ErrorList::new();
    }
    check_cidr(path, value, strict).err().unwrap_or_default()
}

/// An interface's address with its prefix length, in canonical form.
pub fn interface_address(path: &Path<'_>, value: &str) -> ErrorList {
    let Some(cidr) = parse_cidr_sloppy(value) else {
        let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        return field::invalid(path, value, detail).into();
    };
    let address = unmap(cidr.address);
    // A mapped address with a prefix shorter than the mapping gets a negative length, and so is never canonical.
    let prefix = i32::from(cidr.prefix);
    let prefix = if address.is_ipv4() && prefix > 32 { prefix - 96 } else { prefix };
    canonical(path, value, &format!("{address}/{prefix}"))
}

/// Warnings about an address that a legacy field accepted but that should be written otherwise.
pub fn ip_warnings(path: &Path<'_>, value: &str) -> Vec<String> {
    let Some(ip) = parse_ip_sloppy(value) else { return Vec::new() };
    let quoted = quote(value);
    match value.parse::<IpAddr>() {
        Ok(address) if !is_mapped(address) => {
            if address.is_ipv6() && address.to_string() != value {
                let canonical = quote(&address.to_string());
                return vec![format!(
                    "{path}: IPv6 address {quoted} should be in RFC 5952 canonical format ({canonical})"
                )];
            }
            Vec::new()
        }
        _ => {
            let preferred = quote(&unmap(ip).to_string());
            vec![format!("{path}: non-standard IP address {quoted} is invalid: use {preferred}")]
        }
    }
}

/// Warnings about a CIDR that a legacy field accepted but that should be written otherwise.
pub fn cidr_warnings(path: &Path<'_>, value: &str) -> Vec<String> {
    let Some(cidr) = parse_cidr_sloppy(value) else { return Vec::new() };
    let mut warnings = Vec::new();
    let quoted = quote(value);
    let network = quote(&cidr.network().unmapped().to_string());
    if unmap(cidr.address) != unmap(cidr.network().address) {
        let longest = if cidr.address.is_ipv4() { 32 } else { 128 };
        let single = quote(&format!("{}/{longest}", unmap(cidr.address)));
        warnings.push(format!(
            "{path}: CIDR value {quoted} is ambiguous in this context (should be {network} or {single}?)"
        ));
    }
    match parse_cidr_strict(value) {
        Some(strict) if !is_mapped(strict.address) => {
            if warnings.is_empty() && strict.address.is_ipv6() && strict.to_string() != value {
                let canonical = quote(&strict.to_string());
                warnings.push(format!(
                    "{path}: IPv6 CIDR value {quoted} should be in RFC 5952 canonical format ({canonical})"
                ));
            }
        }
        _ => warnings.push(format!("{path}: non-standard CIDR value {quoted} is invalid: use {network}")),
    }
    warnings
}

fn check_ip(path: &Path<'_>, value: &str, strict: bool) -> Result<IpAddr, ErrorList> {
    let Some(ip) = parse_ip_sloppy(value) else {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        return Err(field::invalid(path, value, detail).into());
    };
    let complaint = match value.parse::<IpAddr>() {
        _ if !strict => None,
        Err(_) => Some("must not have leading 0s"),
        Ok(address) if is_mapped(address) => Some("must not be an IPv4-mapped IPv6 address"),
        Ok(_) => None,
    };
    match complaint {
        Some(detail) => Err(field::invalid(path, value, detail).into()),
        None => Ok(unmap(ip)),
    }
}

fn check_cidr(path: &Path<'_>, value: &str, strict: bool) -> Result<Cidr, ErrorList> {
    let Some(cidr) = parse_cidr_sloppy(value) else {
        let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        return Err(field::invalid(path, value, detail).into());
    };
    let complaint = match parse_cidr_strict(value) {
        _ if !strict => None,
        None => Some("must not have leading 0s in IP or prefix length"),
        Some(cidr) if is_mapped(cidr.address) => Some("must not have an IPv4-mapped IPv6 address"),
        Some(cidr) if cidr != cidr.network() => Some("must not have bits set beyond the prefix length"),
        Some(_) => None,
    };
    match complaint {
        Some(detail) => Err(field::invalid(path, value, detail).into()),
        None => Ok(cidr),
    }
}

fn parse_cidr_strict(value: &str) -> Option<Cidr> {
    let (address, prefix) = value.split_once('/')?;
    let has_leading_zero = prefix.len() > 1 && prefix.starts_with('0');
    let address: IpAddr = address.parse().ok()?;
    let cidr = parse_cidr_sloppy(value)?;
    (!has_leading_zero).then_some(Cidr { address, ..cidr })
}

fn canonical(path: &Path<'_>, value: &str, canonical: &str) -> ErrorList {
    if value == canonical {
        return ErrorList::new();
    }
    field::invalid(path, value, format!("must be in canonical form ({})", quote(canonical))).into()
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

fn unmap(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn without_leading_zeros(value: &str) -> String {
    let is_separator = |c: char| c == '.' || c == ':';
    let mut out = String::with_capacity(value.len());
    for piece in value.split_inclusive(is_separator) {
        let number = piece.trim_end_matches(is_separator);
        let separator = &piece[number.len()..];
        let trimmed = number.trim_start_matches('0');
        out.push_str(if trimmed.is_empty() && !number.is_empty() { "0" } else { trimmed });
        out.push_str(separator);
    }
    out
}
