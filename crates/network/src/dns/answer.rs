//! From a question to a reply, without a socket.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use netplan::dns::{self, Data, Kind, Lookup, TTL, Zone};

/// The zone, and whether it is all there.
#[derive(Clone, Debug)]
pub struct State {
    pub zone: Zone,
    /// False until the caches behind the zone have been filled: until then a name that is not found
    /// may still exist, and saying that it does not would be believed for long.
    pub complete: bool,
}

/// What becomes of a received message. `limit` is the longest datagram that the client can take.
#[derive(Debug)]
pub enum Outcome {
    Reply {
        reply: Box<Message>,
        limit: u16,
    },
    /// Somebody else must be asked `question`; its answers complete the reply.
    Forward {
        reply: Box<Message>,
        limit: u16,
        question: Query,
        dnssec: bool,
    },
    /// Not a question, or not even a header to reply to.
    Ignore,
}

/// What we can take in one datagram, and what we send in one: fits every network without fragments.
pub const MAX_DATAGRAM: u16 = 1232;
/// What a client that says nothing can take.
const PLAIN_DATAGRAM: u16 = 512;
/// Aliases followed inside the zone.
const MAX_ALIASES: usize = 8;

/// Answers a message as far as the zone goes. `rotate` varies the order of addresses from one reply
/// to the next.
pub fn answer(bytes: &[u8], state: &State, rotate: usize) -> Outcome {
    let Some(id) = bytes.first_chunk().map(|id| u16::from_be_bytes(*id)) else { return Outcome::Ignore };
    let request = match Message::from_vec(bytes) {
        Ok(request) => request,
        // A reply that does not parse must not be replied to: two servers would never stop.
        Err(_) if bytes.get(2).is_none_or(|flags| flags & 0x80 != 0) => return Outcome::Ignore,
        Err(_) => {
            let reply = Box::new(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr));
            return Outcome::Reply { reply, limit: PLAIN_DATAGRAM };
        }
    };
    if request.metadata.message_type != MessageType::Query {
        return Outcome::Ignore;
    }
    let limit = limit(request.edns.as_ref());
    let mut reply = Message::new(id, MessageType::Response, request.metadata.op_code);
    reply.metadata.recursion_desired = request.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.queries.clone_from(&request.queries);
    if let Some(edns) = &request.edns {
        let mut ours = Edns::new();
        ours.set_max_payload(MAX_DATAGRAM).set_version(0);
        reply.edns = Some(ours);
        if edns.version() > 0 {
            return refuse(reply, limit, ResponseCode::BADVERS);
        }
    }
    if request.metadata.op_code != OpCode::Query {
        return refuse(reply, limit, ResponseCode::NotImp);
    }
    let [question] = request.queries.as_slice() else { return refuse(reply, limit, ResponseCode::FormErr) };
    if question.query_class() != DNSClass::IN {
        return refuse(reply, limit, ResponseCode::Refused);
    }
    let question = question.clone();
    let dnssec = request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    resolve(reply, limit, question, dnssec, state, rotate)
}

/// Datagrams of ours are limited too, so that they pass every network without fragments.
fn limit(request: Option<&Edns>) -> u16 {
    request.map_or(PLAIN_DATAGRAM, |edns| edns.max_payload().clamp(PLAIN_DATAGRAM, MAX_DATAGRAM))
}

fn refuse(mut reply: Message, limit: u16, code: ResponseCode) -> Outcome {
    reply.metadata.response_code = code;
    Outcome::Reply { reply: Box::new(reply), limit }
}

fn resolve(
    mut reply: Message,
    limit: u16,
    question: Query,
    dnssec: bool,
    state: &State,
    rotate: usize,
) -> Outcome {
    let kind = kind_of(question.query_type());
    let mut name = question.name().clone();
    for _ in 0..MAX_ALIASES {
        let asked = name.to_ascii();
        let looked_up = state.zone.lookup(&asked, kind);
        if !state.complete && might_be_ours(&asked, &state.zone) {
            return refuse(reply, limit, ResponseCode::ServFail);
        }
        let (answers, additional) = match looked_up {
            Lookup::NotOurs => {
                let mut question = question;
                question.set_name(name);
                return Outcome::Forward { reply: Box::new(reply), limit, question, dnssec };
            }
            Lookup::Found { answers, additional } => (answers, additional),
            Lookup::NoData | Lookup::NoName => {
                reply.metadata.authoritative = true;
                // Behind an alias that exists, only the end of the way is missing.
                if looked_up == Lookup::NoName {
                    reply.metadata.response_code = ResponseCode::NXDomain;
                }
                reply.authorities.extend(record(&state.zone.soa(), None));
                return Outcome::Reply { reply: Box::new(reply), limit };
            }
        };
        reply.metadata.authoritative = true;
        let start = reply.answers.len();
        reply.answers.extend(answers.iter().filter_map(|answer| record(answer, Some(&name))));
        reply.additionals.extend(additional.iter().filter_map(|more| record(more, None)));
        let alias = reply.answers[start..].iter().find_map(|answer| match &answer.data {
            RData::CNAME(target) => Some(target.0.clone()),
            _ => None,
        });
        match alias.filter(|_| !matches!(kind, Kind::Cname | Kind::Any)) {
            Some(target) => name = target,
            None => {
                let addresses = &mut reply.answers[start..];
                if !addresses.is_empty() && addresses.iter().all(|answer| answer.data.ip_addr().is_some()) {
                    addresses.rotate_left(rotate % addresses.len());
                }
                return Outcome::Reply { reply: Box::new(reply), limit };
            }
        }
    }
    refuse(reply, limit, ResponseCode::ServFail)
}

/// Whether a complete zone could know the name, though this one may not yet.
fn might_be_ours(name: &str, zone: &Zone) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.ends_with(".arpa")
        || name.strip_suffix(zone.domain()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn kind_of(record_type: RecordType) -> Kind {
    match record_type {
        RecordType::A => Kind::A,
        RecordType::AAAA => Kind::Aaaa,
        RecordType::SRV => Kind::Srv,
        RecordType::PTR => Kind::Ptr,
        RecordType::CNAME => Kind::Cname,
        RecordType::TXT => Kind::Txt,
        RecordType::SOA => Kind::Soa,
        RecordType::NS => Kind::Ns,
        RecordType::ANY => Kind::Any,
        _ => Kind::Other,
    }
}

/// A record for the wire; `None` when a name in it does not fit there, as an ExternalName may not.
/// Answers repeat the name as it was asked, in upper and lower case.
fn record(record: &dns::Record, asked: Option<&Name>) -> Option<Record> {
    let parse = |name: &str| {
        let mut name = Name::from_ascii(name).ok()?;
        name.set_fqdn(true);
        Some(name)
    };
    let data = match &record.data {
        Data::Address(std::net::IpAddr::V4(ip)) => RData::A(A(*ip)),
        Data::Address(std::net::IpAddr::V6(ip)) => RData::AAAA(AAAA(*ip)),
        Data::Srv { priority, weight, port, target } => {
            RData::SRV(SRV::new(*priority, *weight, *port, parse(target)?))
        }
        Data::Ptr(name) => RData::PTR(PTR(parse(name)?)),
        Data::Cname(name) => RData::CNAME(CNAME(parse(name)?)),
        Data::Ns(name) => RData::NS(NS(parse(name)?)),
        Data::Txt(text) => RData::TXT(TXT::new(vec![text.clone()])),
        Data::Soa { primary, contact, serial } => {
            const REFRESH: i32 = 7200;
            const RETRY: i32 = 1800;
            const EXPIRE: i32 = 86_400;
            RData::SOA(SOA::new(parse(primary)?, parse(contact)?, *serial, REFRESH, RETRY, EXPIRE, TTL))
        }
    };
    let name = asked.cloned().or_else(|| parse(&record.name))?;
    Some(Record::from_rdata(name, TTL, data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netplan::model::{Name as ServiceName, Service, Slices};

    fn state(complete: bool) -> State {
        let mut zone = Zone::new("cluster.local", vec![], vec!["10.96.0.0/16".parse().unwrap()]);
        let service = Service { cluster_ips: vec!["10.96.0.5".parse().unwrap()], ..Service::default() };
        zone.set_service(&ServiceName::new("shop", "web"), Some(&service), &Slices::new());
        let alias = |to: &str| Service { external_name: Some(to.into()), ..Service::default() };
        for (name, to) in [
            ("near", "web.shop.svc.cluster.local"),
            ("far", "example.org"),
            ("loop", "loop.shop.svc.cluster.local"),
            ("dead", "none.shop.svc.cluster.local"),
        ] {
            zone.set_service(&ServiceName::new("shop", name), Some(&alias(to)), &Slices::new());
        }
        State { zone, complete }
    }

    fn question(name: &str, kind: RecordType) -> Message {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message
    }

    /// The code and the answers, or whom else to ask.
    fn outcome(message: &Message, state: &State) -> String {
        match answer(&message.to_vec().unwrap(), state, 0) {
            Outcome::Ignore => "ignored".to_owned(),
            Outcome::Forward { question, reply, .. } => {
                format!("forward {} behind {} answers", question.name(), reply.answers.len())
            }
            Outcome::Reply { reply, .. } => {
                assert_eq!((reply.metadata.id, &reply.queries), (7, &message.queries));
                let answers = reply.answers.iter().map(|answer| format!(" {}={}", answer.name, answer.data));
                format!("{:?}{}", reply.metadata.response_code, answers.collect::<String>())
            }
        }
    }

    #[test]
    fn questions() {
        let ready = state(true);
        let check = |name: &str, kind, want: &str| assert_eq!(outcome(&question(name, kind), &ready), want);
        check("Web.shop.svc.cluster.local.", RecordType::A, "NoError Web.shop.svc.cluster.local.=10.96.0.5");
        check("web.shop.svc.cluster.local.", RecordType::AAAA, "NoError");
        check("web.shop.svc.cluster.local.", RecordType::MX, "NoError");
        check("no.shop.svc.cluster.local.", RecordType::A, "NXDomain");
        check(
            "near.shop.svc.cluster.local.",
            RecordType::A,
            "NoError near.shop.svc.cluster.local.=web.shop.svc.cluster.local. web.shop.svc.cluster.local.=10.96.0.5",
        );
        check("far.shop.svc.cluster.local.", RecordType::A, "forward example.org. behind 1 answers");
        check(
            "far.shop.svc.cluster.local.",
            RecordType::CNAME,
            "NoError far.shop.svc.cluster.local.=example.org.",
        );
        check(
            "dead.shop.svc.cluster.local.",
            RecordType::A,
            "NXDomain dead.shop.svc.cluster.local.=none.shop.svc.cluster.local.",
        );
        assert!(
            outcome(&question("loop.shop.svc.cluster.local.", RecordType::A), &ready).starts_with("ServFail")
        );
        check("example.org.", RecordType::A, "forward example.org. behind 0 answers");
        check("9.0.96.10.in-addr.arpa.", RecordType::PTR, "NXDomain");
    }

    #[test]
    fn nothing_is_denied_before_all_is_known() {
        let young = state(false);
        for name in ["web.shop.svc.cluster.local.", "no.shop.svc.cluster.local.", "9.0.96.10.in-addr.arpa."] {
            assert_eq!(outcome(&question(name, RecordType::A), &young), "ServFail", "{name}");
        }
        let elsewhere = outcome(&question("example.org.", RecordType::A), &young);
        assert_eq!(elsewhere, "forward example.org. behind 0 answers");
    }

    #[test]
    fn odd_messages() {
        let ready = state(true);
        let check = |change: &dyn Fn(&mut Message), want: &str| {
            let mut message = question("web.shop.svc.cluster.local.", RecordType::A);
            change(&mut message);
            assert!(
                outcome(&message, &ready).starts_with(want),
                "{} is not {want}",
                outcome(&message, &ready)
            );
        };
        check(&|m| m.metadata.message_type = MessageType::Response, "ignored");
        check(&|m| m.metadata.op_code = OpCode::Status, "NotImp");
        check(&|m| m.queries.clear(), "FormErr");
        check(&|m| m.queries.push(m.queries[0].clone()), "FormErr");
        check(&|m| m.queries[0] = m.queries[0].clone().set_query_class(DNSClass::CH).clone(), "Refused");
        check(
            &|m| {
                let mut edns = Edns::new();
                edns.set_version(1);
                m.edns = Some(edns);
            },
            "BADVERS",
        );
        for short in [&[][..], &[0], &[0, 7, 0x80]] {
            assert!(matches!(answer(short, &ready, 0), Outcome::Ignore));
        }
        assert!(matches!(answer(&[0, 7, 0, 0], &ready, 0), Outcome::Reply { .. }));
    }

    #[test]
    fn no_message_breaks_the_resolver() {
        let ready = state(true);
        let valid = question("web.shop.svc.cluster.local.", RecordType::A).to_vec().unwrap();
        bolero::check!().with_type::<(Vec<u8>, Vec<(u8, u8)>)>().for_each(|(random, changes)| {
            answer(random, &ready, 0);
            let mut damaged = valid.clone();
            for (at, value) in changes {
                let at = usize::from(*at) % damaged.len();
                damaged[at] = *value;
            }
            if let Outcome::Reply { reply, .. } = answer(&damaged, &ready, 0) {
                let _ = reply.to_vec();
            }
        });
    }
}
