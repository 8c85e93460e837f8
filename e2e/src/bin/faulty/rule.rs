//! One rule: the selected calls, and their error or delay.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Calls by name, with their number and the index of the argument with the path of the entry created or replaced.
const CALLS: [(&str, Call); 11] = [
    ("fdatasync", Call { number: libc::SYS_fdatasync, path: None }),
    ("fsync", Call { number: libc::SYS_fsync, path: None }),
    ("ftruncate", Call { number: libc::SYS_ftruncate, path: None }),
    ("mkdirat", Call { number: libc::SYS_mkdirat, path: Some(1) }),
    ("openat2", Call { number: libc::SYS_openat2, path: Some(1) }),
    ("pwrite64", Call { number: libc::SYS_pwrite64, path: None }),
    ("renameat", Call { number: libc::SYS_renameat, path: Some(3) }),
    ("renameat2", Call { number: libc::SYS_renameat2, path: Some(3) }),
    ("symlinkat", Call { number: libc::SYS_symlinkat, path: Some(2) }),
    ("syncfs", Call { number: libc::SYS_syncfs, path: None }),
    ("write", Call { number: libc::SYS_write, path: None }),
];
const ERRORS: [(&str, libc::c_int); 5] = [
    ("EDQUOT", libc::EDQUOT),
    ("EIO", libc::EIO),
    ("ENOSPC", libc::ENOSPC),
    ("ENOSYS", libc::ENOSYS),
    ("EPERM", libc::EPERM),
];

#[derive(Clone, Copy, Debug)]
struct Call {
    number: libc::c_long,
    path: Option<usize>,
}

/// Calls that fail with one error, or wait before they are made.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) text: String,
    call: Call,
    /// Argument, comparison and value; all conditions must match.
    conditions: Vec<(u8, SeccompCmpOp, u64)>,
    /// Last component that the path must have; with a `*` at the end, its beginning.
    name: Option<String>,
    effect: Effect,
}

#[derive(Clone, Copy, Debug)]
enum Effect {
    Error(libc::c_int),
    Delay(Duration),
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (which, effect) = text.rsplit_once('=').context("a rule reads SYSCALL=ERROR or SYSCALL=delay:MS")?;
        let (which, name) = match which.split_once('@') {
            Some((which, name)) => (which, Some(name.to_owned())),
            None => (which, None),
        };
        let mut parts = which.split('/');
        let call = known(&CALLS, parts.next().unwrap_or_default())?;
        let effect = match effect.strip_prefix("delay:") {
            Some(milliseconds) => Effect::Delay(Duration::from_millis(milliseconds.parse()?)),
            None => Effect::Error(known(&ERRORS, effect)?),
        };
        // The kernel's filter sees numbers only; paths are read by the tracer, which only delays use.
        ensure!(name.is_none() || matches!(effect, Effect::Delay(_)), "a name is for delays only: {text}");
        ensure!(name.is_none() || call.path.is_some(), "this call has no path: {text}");
        let conditions = parts.map(condition).collect::<Result<_>>()?;
        Ok(Self { text: text.to_owned(), call, conditions, name, effect })
    }
}

impl Rule {
    /// Returns the delay before each matching call; `None` for a rule that makes calls fail.
    pub(crate) fn delay(&self) -> Option<Duration> {
        match self.effect {
            Effect::Delay(delay) => Some(delay),
            Effect::Error(_) => None,
        }
    }

    /// Returns the index of the argument with the path, and the last component that the path must have, or with a `*` at the end, its beginning.
    pub(crate) fn path(&self) -> Option<(usize, &str)> {
        Some((self.call.path?, self.name.as_deref()?))
    }

    /// Installs the rule on this process and all descendants. `number` becomes the event message that the tracer reads.
    pub(crate) fn apply(&self, number: u32) -> Result<()> {
        let mut conditions = Vec::new();
        for (argument, how, value) in &self.conditions {
            conditions.push(SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, how.clone(), *value)?);
        }
        // An empty list of seccomp rules matches every call.
        let rules = if conditions.is_empty() { Vec::new() } else { vec![SeccompRule::new(conditions)?] };
        let action = match self.effect {
            Effect::Error(error) => SeccompAction::Errno(error.unsigned_abs()),
            Effect::Delay(_) => SeccompAction::Trace(number),
        };
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        let rules = BTreeMap::from([(self.call.number, rules)]);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?;
        let program: BpfProgram = filter.try_into()?;
        Ok(seccompiler::apply_filter(&program)?)
    }
}

fn condition(text: &str) -> Result<(u8, SeccompCmpOp, u64)> {
    let (how, (argument, value)) = if let Some(sides) = text.split_once(">=") {
        (SeccompCmpOp::Ge, sides)
    } else {
        (SeccompCmpOp::Eq, text.split_once("==").context("a condition has >= or ==")?)
    };
    Ok((argument.parse()?, how, value.parse()?))
}

fn known<T: Copy>(known: &[(&str, T)], name: &str) -> Result<T> {
    let Some((_, found)) = known.iter().find(|(known, _)| *known == name) else {
        bail!("{name:?} is none of {:?}", known.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    };
    Ok(*found)
}
