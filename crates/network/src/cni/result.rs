//! What plugins answer to ADD.

use std::net::IpAddr;

use netplan::addr::Cidr;
use serde_json::Value;

/// What a pod has been given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// In the plugins' order: the first is the pod's main address.
    pub addresses: Vec<IpAddr>,
    pub nameservers: Vec<String>,
    pub searches: Vec<String>,
}

/// Reads results of versions 0.1 to 1.1.
pub(super) fn parse(answer: &Value) -> Result<Attached, String> {
    let mut attached = Attached::default();
    let list = |of: &Value, name: &str| of.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    for ip in list(answer, "ips") {
        // Interfaces with a sandbox are inside the pod; an address on another one is not the pod's.
        let interface = ip.get("interface").and_then(Value::as_u64);
        let outside = interface.is_some_and(|index| {
            let interfaces = list(answer, "interfaces");
            let found = usize::try_from(index).ok().and_then(|index| interfaces.get(index).cloned());
            found.is_some_and(|i| i.get("sandbox").and_then(Value::as_str).unwrap_or_default().is_empty())
        });
        if !outside {
            attached.addresses.push(address(ip.get("address"))?);
        }
    }
    for old in ["ip4", "ip6"] {
        if let Some(ip) = answer.get(old) {
            attached.addresses.push(address(ip.get("ip"))?);
        }
    }
    if attached.addresses.is_empty() {
        return Err("the plugins gave the pod no address".to_owned());
    }
    if let Some(dns) = answer.get("dns") {
        let texts = |name| list(dns, name).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
        attached.nameservers = texts("nameservers");
        attached.searches = texts("search");
    }
    Ok(attached)
}

/// An address with its prefix length. The range would lose the address, so both halves are read.
fn address(value: Option<&Value>) -> Result<IpAddr, String> {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    let bad = || format!("{text:?} is not an address with a prefix length");
    text.parse::<Cidr>().map_err(|_| bad())?;
    let (ip, _) = text.split_once('/').ok_or_else(bad)?;
    ip.parse().map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_versions() {
        let check = |text: &str, want: Result<&[&str], &str>| {
            let got = parse(&serde_json::from_str(text).unwrap());
            let got = got.map(|a| a.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>());
            assert_eq!(got, want.map(|w| w.iter().map(|s| (*s).to_owned()).collect()).map_err(str::to_owned));
        };
        check(
            r#"{"ips": [{"address": "10.1.0.5/16"}, {"address": "fd00::5/64"}]}"#,
            Ok(&["10.1.0.5", "fd00::5"]),
        );
        check(r#"{"ip4": {"ip": "10.1.0.5/16"}}"#, Ok(&["10.1.0.5"]));
        let with_host_end = r#"{"interfaces": [{"name": "cni0"}, {"name": "eth0", "sandbox": "/x"}],
            "ips": [{"interface": 0, "address": "10.1.0.1/16"}, {"interface": 1, "address": "10.1.0.5/16"}]}"#;
        check(with_host_end, Ok(&["10.1.0.5"]));
        check("{}", Err("the plugins gave the pod no address"));
        check("null", Err("the plugins gave the pod no address"));
        let bad = "\"10.1.0.5\" is not an address with a prefix length";
        check(r#"{"ips": [{"address": "10.1.0.5"}]}"#, Err(bad));
    }

    #[test]
    fn no_answer_breaks_the_parser() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            if let Ok(value) = serde_json::from_slice(bytes) {
                let _ = parse(&value);
            }
            let _ = crate::cni::Network::parse(bytes);
        });
    }

    #[test]
    fn no_shape_of_answer_breaks_the_parser() {
        bolero::check!().with_type::<(u8, u64, String)>().for_each(|(shape, number, text)| {
            let inner = match shape % 4 {
                0 => serde_json::json!(text),
                1 => serde_json::json!(number),
                2 => serde_json::json!({ "address": text, "interface": number }),
                _ => serde_json::json!([{ "address": text, "interface": number }]),
            };
            for name in ["ips", "ip4", "dns", "interfaces"] {
                let _ = parse(
                    &serde_json::json!({ name: inner, "ips": [{ "address": text, "interface": number }] }),
                );
            }
        });
    }
}
