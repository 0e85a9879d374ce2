//! Seccomp profiles compiled to the kernel's filter programs.
//!
//! The program looks at the architecture, then finds the call's number by binary search over the ranges that
//! are treated alike, so that its length hardly matters for the cost of a call.

mod syscalls;

pub(crate) use syscalls::{all, number};

use libc::sock_filter;

use super::failure::{Failure, Result};
use super::sys;
use crate::bundle::{Action, Comparison, Condition, Seccomp};

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// Numbers from here on belong to the x32 ABI, which no profile can allow.
#[cfg(target_arch = "x86_64")]
const X32_CALLS: u32 = 0x4000_0000;

/// The longest program that the kernel accepts.
const MAX_INSTRUCTIONS: usize = 4096;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// A profile ready to be installed.
#[derive(Debug)]
pub struct Filter {
    program: Vec<sock_filter>,
    flags: u32,
}

impl Filter {
    /// Installs the filter. The caller has no_new_privs set, or CAP_SYS_ADMIN in its user namespace.
    pub fn install(&self) -> rustix::io::Result<()> {
        sys::seccomp(&self.program, self.flags)
    }
}

/// Compiles `profile`. Names that this architecture does not have are passed over, as upstream does; actions
/// and flags that are not honoured are refused.
pub fn compile(profile: &Seccomp) -> Result<Filter> {
    let default = verdict(profile.default_action, profile.default_errno_ret)?;
    let mut calls: std::collections::BTreeMap<u32, Block> = Default::default();
    let mut newest = 0;
    for rule in &profile.syscalls {
        let verdict = verdict(rule.action, rule.errno_ret)?;
        for condition in &rule.args {
            if condition.index > 5 {
                return Err(Failure(format!("seccomp: argument index {} is out of range", condition.index)));
            }
        }
        for number in rule.names.iter().filter_map(|name| number(name)) {
            newest = newest.max(number);
            calls.entry(number).or_default().push(Rule { conditions: rule.args.clone(), verdict });
        }
    }

    // A program linked with a newer C library than the profile knows must see ENOSYS, and fall back to older
    // calls, where a profile that denies by default would say EPERM.
    let beyond = match profile.default_action {
        Action::Errno | Action::KillThread | Action::KillProcess if newest > 0 => {
            verdict(Action::Errno, Some(libc::ENOSYS as u32))?
        }
        _ => default,
    };

    let mut ranges: Vec<(u32, Leaf<'_>)> = vec![(0, Leaf::Verdict(default))];
    let mut add = |start: u32, leaf: Leaf<'static>| ranges.push((start, leaf));
    let mut cases: Vec<(u32, &Block)> = Vec::new();
    for (&number, block) in &calls {
        cases.push((number, block));
        add(number + 1, Leaf::Verdict(default));
    }
    add(newest + 1, Leaf::Verdict(beyond));
    #[cfg(target_arch = "x86_64")]
    add(X32_CALLS, Leaf::Verdict(verdict(Action::Errno, Some(libc::ENOSYS as u32))?));
    for (number, block) in cases {
        let leaf = match block.as_slice() {
            [Rule { conditions, verdict }, ..] if conditions.is_empty() => Leaf::Verdict(*verdict),
            _ => Leaf::Block(block),
        };
        ranges.push((number, leaf));
    }
    // Of leaves with the same start the last one added rules; neighbours that agree become one.
    ranges.sort_by_key(|&(start, _)| start);
    let mut merged: Vec<(u32, Leaf<'_>)> = Vec::new();
    for (start, leaf) in ranges {
        if merged.last().is_some_and(|&(last, _)| last == start) {
            merged.pop();
        }
        if merged.last().is_none_or(|(_, last)| !last.same(&leaf)) {
            merged.push((start, leaf));
        }
    }

    let mut program =
        vec![load(ARCHITECTURE), jump(libc::BPF_JEQ, AUDIT_ARCH, 1, 0), ret(default), load(NUMBER)];
    program.extend(search(&merged, default));
    if program.len() > MAX_INSTRUCTIONS {
        return Err(Failure(format!(
            "seccomp: the profile needs {} instructions of {MAX_INSTRUCTIONS}",
            program.len()
        )));
    }
    Ok(Filter { program, flags: flags(&profile.flags)? })
}

type Block = Vec<Rule>;

struct Rule {
    conditions: Vec<Condition>,
    verdict: u32,
}

#[derive(Clone, Copy)]
enum Leaf<'a> {
    Verdict(u32),
    Block(&'a Block),
}

impl Leaf<'_> {
    fn same(&self, other: &Leaf<'_>) -> bool {
        matches!((self, other), (Leaf::Verdict(a), Leaf::Verdict(b)) if a == b)
    }
}

/// The instructions that find the range of the number in the accumulator.
fn search(ranges: &[(u32, Leaf<'_>)], default: u32) -> Vec<sock_filter> {
    match ranges {
        [] => vec![ret(default)],
        [(_, Leaf::Verdict(verdict))] => vec![ret(*verdict)],
        [(_, Leaf::Block(block))] => rules(block, default),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let pivot = high[0].0;
            let below = search(low, default);
            let mut code = match u8::try_from(below.len()) {
                Ok(distance) => vec![jump(libc::BPF_JGE, pivot, distance, 0)],
                Err(_) => vec![jump(libc::BPF_JGE, pivot, 0, 1), far(below.len() as u32)],
            };
            code.extend(below);
            code.extend(search(high, default));
            code
        }
    }
}

/// The rules of one call, tried in order.
fn rules(rules: &[Rule], default: u32) -> Vec<sock_filter> {
    let mut code = Vec::new();
    for rule in rules {
        let checks: Vec<Vec<Check>> = rule.conditions.iter().map(check).collect();
        let length: usize = checks.iter().flatten().count() + 1;
        let mut at = 0;
        for condition in &checks {
            for (offset, step) in condition.iter().enumerate() {
                at += 1;
                // At most six conditions of at most seven instructions: every distance fits a byte.
                let past_rule = (length - at) as u8;
                let past_condition = (condition.len() - offset - 1) as u8;
                let distance = |target: Target| match target {
                    Target::Next => 0,
                    Target::Holds => past_condition,
                    Target::Fails => past_rule,
                };
                code.push(match *step {
                    Check::Plain(instruction) => instruction,
                    Check::Jump(op, value, yes, no) => jump(op, value, distance(yes), distance(no)),
                });
            }
        }
        code.push(ret(rule.verdict));
        if rule.conditions.is_empty() {
            return code;
        }
    }
    code.push(ret(default));
    code
}

#[derive(Clone, Copy)]
enum Target {
    Next,
    Holds,
    Fails,
}

#[derive(Clone, Copy)]
enum Check {
    Plain(sock_filter),
    Jump(u32, u32, Target, Target),
}

/// The comparison of a 64-bit argument, in halves of 32 bits.
fn check(condition: &Condition) -> Vec<Check> {
    use Check::{Jump, Plain};
    use Target::{Fails, Holds, Next};
    // The fields are little endian on every architecture that the table of calls knows.
    let low = ARGUMENTS + 8 * condition.index;
    let high = low + 4;
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    let (value_high, value_low) = halves(condition.value);
    let ordered = |op: u32, yes: Target, no: Target| {
        vec![
            Plain(load(high)),
            Jump(libc::BPF_JGT, value_high, yes, Next),
            Jump(libc::BPF_JEQ, value_high, Next, no),
            Plain(load(low)),
            Jump(op, value_low, yes, no),
        ]
    };
    match condition.op {
        Comparison::Equal => vec![
            Plain(load(high)),
            Jump(libc::BPF_JEQ, value_high, Next, Fails),
            Plain(load(low)),
            Jump(libc::BPF_JEQ, value_low, Holds, Fails),
        ],
        Comparison::NotEqual => vec![
            Plain(load(high)),
            Jump(libc::BPF_JEQ, value_high, Next, Holds),
            Plain(load(low)),
            Jump(libc::BPF_JEQ, value_low, Fails, Holds),
        ],
        Comparison::Greater => ordered(libc::BPF_JGT, Holds, Fails),
        Comparison::GreaterOrEqual => ordered(libc::BPF_JGE, Holds, Fails),
        Comparison::LessOrEqual => ordered(libc::BPF_JGT, Fails, Holds),
        Comparison::Less => ordered(libc::BPF_JGE, Fails, Holds),
        Comparison::MaskedEqual => {
            let (mask_high, mask_low) = halves(condition.value);
            let (want_high, want_low) = halves(condition.value_two);
            vec![
                Plain(load(high)),
                Plain(and(mask_high)),
                Jump(libc::BPF_JEQ, want_high, Next, Fails),
                Plain(load(low)),
                Plain(and(mask_low)),
                Jump(libc::BPF_JEQ, want_low, Holds, Fails),
            ]
        }
    }
}

fn verdict(action: Action, errno: Option<u32>) -> Result<u32> {
    let data = |default: i32| errno.unwrap_or(default as u32) & libc::SECCOMP_RET_DATA;
    Ok(match action {
        Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::Errno => libc::SECCOMP_RET_ERRNO | data(libc::EPERM),
        Action::Trace => libc::SECCOMP_RET_TRACE | data(libc::EPERM),
        Action::Log => libc::SECCOMP_RET_LOG,
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Notify => {
            return Err(Failure::new("seccomp: SCMP_ACT_NOTIFY needs a listener, which boga does not offer"));
        }
    })
}

fn flags(names: &[String]) -> Result<u32> {
    if names.is_empty() {
        // As upstream: a filter alone does not switch a process to the slow speculation mitigations.
        return Ok(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32);
    }
    names.iter().try_fold(0, |flags, name| {
        Ok(flags
            | match name.as_str() {
                // With one thread there is nothing to synchronise.
                "SECCOMP_FILTER_FLAG_TSYNC" => 0,
                "SECCOMP_FILTER_FLAG_LOG" => libc::SECCOMP_FILTER_FLAG_LOG as u32,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32,
                other => return Err(Failure(format!("seccomp flag not supported: {other}"))),
            })
    })
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn and(mask: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16, jt: 0, jf: 0, k: mask }
}

fn jump(op: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | op | libc::BPF_K) as u16, jt: yes, jf: no, k: value }
}

fn far(distance: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | libc::BPF_JA) as u16, jt: 0, jf: 0, k: distance }
}

fn ret(verdict: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: verdict }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::SyscallRule;

    /// What the kernel would answer: the program run by a small interpreter.
    fn run(filter: &Filter, arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let mut data = [0u8; 64];
        data[0..4].copy_from_slice(&number.to_le_bytes());
        data[4..8].copy_from_slice(&arch.to_le_bytes());
        for (index, arg) in args.iter().enumerate() {
            data[16 + 8 * index..24 + 8 * index].copy_from_slice(&arg.to_le_bytes());
        }
        let (mut at, mut accumulator) = (0usize, 0u32);
        loop {
            let step = filter.program[at];
            at += 1;
            let code = u32::from(step.code);
            let k = step.k as usize;
            match code & 0x07 {
                libc::BPF_LD => accumulator = u32::from_le_bytes(data[k..k + 4].try_into().unwrap()),
                libc::BPF_ALU => accumulator &= step.k,
                libc::BPF_RET => return step.k,
                libc::BPF_JMP if code & 0xf0 == libc::BPF_JA => at += k,
                libc::BPF_JMP => {
                    let yes = match code & 0xf0 {
                        libc::BPF_JEQ => accumulator == step.k,
                        libc::BPF_JGT => accumulator > step.k,
                        libc::BPF_JGE => accumulator >= step.k,
                        other => panic!("unexpected jump {other:#x}"),
                    };
                    at += usize::from(if yes { step.jt } else { step.jf });
                }
                other => panic!("unexpected class {other}"),
            }
        }
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    fn rule(names: &[&str], action: Action, args: &[(u32, Comparison, u64, u64)]) -> SyscallRule {
        SyscallRule {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            action,
            errno_ret: None,
            args: args
                .iter()
                .map(|&(index, op, value, value_two)| Condition { index, value, value_two, op })
                .collect(),
        }
    }

    #[test]
    fn arguments_are_compared_with_all_64_bits() {
        use Comparison::*;
        const BIG: u64 = 0x1_0000_0002;
        for (op, value, two, holds, fails) in [
            (Equal, BIG, 0, vec![BIG], vec![2, 0x2_0000_0002, BIG + 1]),
            (NotEqual, BIG, 0, vec![2, 0x2_0000_0002, BIG + 1], vec![BIG]),
            (Greater, BIG, 0, vec![BIG + 1, 0x2_0000_0000], vec![BIG, 3, 0xffff_ffff]),
            (GreaterOrEqual, BIG, 0, vec![BIG, BIG + 1, 0x2_0000_0000], vec![BIG - 1, 0xffff_ffff]),
            (Less, BIG, 0, vec![BIG - 1, 0xffff_ffff], vec![BIG, 0x2_0000_0000]),
            (LessOrEqual, BIG, 0, vec![BIG, 0xffff_ffff], vec![BIG + 1, 0x2_0000_0000]),
            (
                MaskedEqual,
                0xff_0000_00ff,
                0x01_0000_0002,
                vec![0x01_aaaa_0002, 0xf00_0000_0000 | 0x01_0000_0002],
                vec![2],
            ),
        ] {
            let profile = Seccomp {
                syscalls: vec![rule(&["personality"], Action::Allow, &[(3, op, value, two)])],
                ..Seccomp::default()
            };
            let filter = compile(&profile).unwrap();
            let call = number("personality").unwrap();
            for (args, expected) in [(holds, ALLOW), (fails, EPERM)] {
                for arg in args {
                    let got = run(&filter, AUDIT_ARCH, call, [9, 9, 9, arg, 9, 9]);
                    assert_eq!(got, expected, "{op:?} {value:#x} with {arg:#x}");
                }
            }
        }
    }

    #[test]
    fn every_call_gets_the_verdict_of_its_first_matching_rule() {
        let some: Vec<&str> = all().map(|(name, _)| name).step_by(3).collect();
        let profile = Seccomp {
            syscalls: vec![
                rule(&some, Action::Allow, &[]),
                rule(
                    &["clone", "no_such_call"],
                    Action::Allow,
                    &[(0, Comparison::MaskedEqual, 0x7e02_0000, 0)],
                ),
                rule(&["clone"], Action::Trap, &[(1, Comparison::Equal, 5, 0)]),
            ],
            ..Seccomp::default()
        };
        let filter = compile(&profile).unwrap();
        let newest = some.iter().filter_map(|name| number(name)).max().unwrap();
        for (name, call) in all() {
            let expected = match name {
                _ if some.contains(&name) => ALLOW,
                "clone" => ALLOW,
                _ if call > newest => ENOSYS,
                _ => EPERM,
            };
            assert_eq!(run(&filter, AUDIT_ARCH, call, [0; 6]), expected, "{name}");
        }
        let clone = number("clone").unwrap();
        if !some.contains(&"clone") {
            assert_eq!(run(&filter, AUDIT_ARCH, clone, [0x0200_0000, 5, 0, 0, 0, 0]), libc::SECCOMP_RET_TRAP);
            assert_eq!(run(&filter, AUDIT_ARCH, clone, [0x0200_0000, 6, 0, 0, 0, 0]), EPERM);
        }
        assert_eq!(run(&filter, AUDIT_ARCH, 100_000, [0; 6]), ENOSYS);
        assert_eq!(run(&filter, 0x4000_0003, 1, [0; 6]), EPERM, "a foreign architecture is denied");
    }

    #[test]
    fn what_is_not_honoured_is_refused() {
        for (profile, message) in [
            (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "SCMP_ACT_NOTIFY"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}"#,
                "not supported",
            ),
            (
                r#"{"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
                "out of range",
            ),
        ] {
            let profile: Seccomp = serde_json::from_str(profile).unwrap();
            let error = compile(&profile).unwrap_err();
            assert!(error.0.contains(message), "{error}");
        }
        let allow: Seccomp = serde_json::from_str(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
        assert_eq!(run(&compile(&allow).unwrap(), AUDIT_ARCH, 1, [0; 6]), ALLOW);
    }
}
