//! Device access under cgroup v2: a small eBPF program, written here instruction by instruction.
//!
//! The rules are tried from the last to the first, and the first that matches decides: that is what writing
//! them one after the other into v1's files amounts to. Without a match access is denied.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use crate::bundle::DeviceRule;
use crate::launch::{Attempt, Failure};

type Result<T> = std::result::Result<T, Failure>;

/// One eBPF instruction, as the kernel lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const COPY: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d;
const EXIT: u8 = 0x95;

const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, immediate }
}

/// r2 = type, r3 = access, r4 = major, r5 = minor.
fn program(rules: &[DeviceRule]) -> Result<Vec<Instruction>> {
    let mut code = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(COPY, 3, 2, 0, 0),
        instruction(AND, 2, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let block = block(rule)?;
        let everything = block.len() == 2;
        code.extend(block);
        if everything {
            // Nothing after a rule for everything can be reached, and the kernel refuses unreachable code.
            return Ok(code);
        }
    }
    code.extend([instruction(MOVE, 0, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    Ok(code)
}

fn block(rule: &DeviceRule) -> Result<Vec<Instruction>> {
    let access = rule.access.chars().try_fold(0, |bits, letter| match letter {
        'm' => Ok(bits | 1),
        'r' => Ok(bits | 2),
        'w' => Ok(bits | 4),
        other => Err(Failure(format!("invalid device access {other:?}"))),
    })?;
    // Each test jumps over the rest of the block; the distances are filled in when its length is known.
    let mut tests = Vec::new();
    match &*rule.r#type {
        "b" => tests.push(instruction(JUMP_NOT_EQUAL, 2, 0, 0, BLOCK)),
        "c" | "u" => tests.push(instruction(JUMP_NOT_EQUAL, 2, 0, 0, CHARACTER)),
        "a" | "" => {}
        other => return Err(Failure(format!("invalid device type {other:?}"))),
    }
    if access != 7 {
        tests.extend([
            instruction(COPY, 1, 3, 0, 0),
            instruction(AND, 1, 0, 0, access),
            instruction(JUMP_NOT_EQUAL_REGISTER, 1, 3, 0, 0),
        ]);
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        if let Some(number) = number.filter(|&number| number >= 0) {
            let number =
                i32::try_from(number).map_err(|_| Failure(format!("invalid device number {number}")))?;
            tests.push(instruction(JUMP_NOT_EQUAL, register, 0, 0, number));
        }
    }
    let length = tests.len() + 2;
    for (at, test) in tests.iter_mut().enumerate() {
        if matches!(test.code, JUMP_NOT_EQUAL | JUMP_NOT_EQUAL_REGISTER) {
            test.offset = (length - at - 1) as i16;
        }
    }
    tests.extend([instruction(MOVE, 0, 0, 0, i32::from(rule.allow)), instruction(EXIT, 0, 0, 0, 0)]);
    Ok(tests)
}

/// Loads the program and attaches it to the group's directory, where it stays as long as the group.
pub(super) fn attach(directory: &Path, rules: &[DeviceRule]) -> Result<()> {
    const PROG_LOAD: libc::c_long = 5;
    const PROG_ATTACH: libc::c_long = 8;
    const CGROUP_DEVICE_PROGRAM: u32 = 15;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;

    #[repr(C)]
    #[derive(Default)]
    struct Load {
        program_type: u32,
        count: u32,
        instructions: u64,
        license: u64,
        rest: [u64; 4],
    }
    #[repr(C)]
    #[derive(Default)]
    struct Attach {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
        rest: [u32; 4],
    }

    let code = program(rules)?;
    let license = CString::new("Apache-2.0").expect("the text has no NUL byte");
    let load = Load {
        program_type: CGROUP_DEVICE_PROGRAM,
        count: code.len() as u32,
        instructions: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        rest: [0; 4],
    };
    // SAFETY: the attribute's pointers refer to the program and the licence, which outlive the call, with the
    // program's true length; the size passed is the attribute's own.
    let program = unsafe {
        match libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>()) {
            -1 => return Err(std::io::Error::last_os_error()).attempt(|| "load the device filter"),
            fd => OwnedFd::from_raw_fd(fd as i32),
        }
    };
    let target = std::fs::File::open(directory).attempt(|| format!("open cgroup {}", directory.display()))?;
    let attach = Attach {
        target: target.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
        rest: [0; 4],
    };
    // SAFETY: the attribute holds descriptors only, both open here; the size passed is its own.
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of::<Attach>()) };
    if result == -1 {
        return Err(std::io::Error::last_os_error()).attempt(|| "attach the device filter");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(code: &[Instruction], kind: i32, access: i32, major: u32, minor: u32) -> bool {
        let memory = [(access << 16 | kind) as u32, major, minor];
        let mut registers = [0i64; 11];
        let mut at = 0usize;
        loop {
            let step = code[at];
            at += 1;
            let (to, from) = (usize::from(step.registers & 15), usize::from(step.registers >> 4));
            match step.code {
                LOAD_WORD => registers[to] = i64::from(memory[step.offset as usize / 4]),
                MOVE => registers[to] = i64::from(step.immediate),
                COPY => registers[to] = registers[from],
                AND => registers[to] &= i64::from(step.immediate),
                SHIFT_RIGHT => registers[to] >>= step.immediate,
                JUMP_NOT_EQUAL if registers[to] != i64::from(step.immediate) => at += step.offset as usize,
                JUMP_NOT_EQUAL_REGISTER if registers[to] != registers[from] => at += step.offset as usize,
                JUMP_NOT_EQUAL | JUMP_NOT_EQUAL_REGISTER => {}
                EXIT => return registers[0] == 1,
                other => panic!("unexpected instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_last_matching_rule_decides() {
        let rule = |allow, kind: &str, major: i64, minor: i64, access: &str| DeviceRule {
            allow,
            r#type: kind.to_owned(),
            major: Some(major),
            minor: Some(minor),
            access: access.to_owned(),
        };
        let code = program(&[
            rule(false, "a", -1, -1, "rwm"),
            rule(true, "c", -1, -1, "m"),
            rule(true, "c", 1, 3, "rwm"),
            rule(true, "c", 136, -1, "rw"),
            rule(false, "c", 136, 7, "w"),
        ])
        .unwrap();
        let (make, read, write) = (1, 2, 4);
        for (kind, access, major, minor, expected) in [
            (CHARACTER, read, 1, 3, true),
            (CHARACTER, read | write, 1, 3, true),
            (CHARACTER, read, 1, 1, false),
            (CHARACTER, make, 1, 1, true),
            (BLOCK, make, 1, 1, false),
            (CHARACTER, write, 136, 5, true),
            (CHARACTER, write, 136, 7, false),
            (CHARACTER, read, 136, 7, true),
            (CHARACTER, make | write, 136, 5, false),
        ] {
            assert_eq!(run(&code, kind, access, major, minor), expected, "{kind} {access} {major}:{minor}");
        }
        assert!(run(&program(&[rule(true, "a", -1, -1, "rwm")]).unwrap(), BLOCK, 4, 8, 0));
        assert!(!run(&program(&[]).unwrap(), CHARACTER, 2, 1, 3));
        assert!(program(&[rule(true, "c", 1, 3, "x")]).is_err());
    }
}
