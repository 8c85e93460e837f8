//! One rule: which calls fail, and how.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

const CALLS: [(&str, libc::c_long); 11] = [
    ("fdatasync", libc::SYS_fdatasync),
    ("fsync", libc::SYS_fsync),
    ("ftruncate", libc::SYS_ftruncate),
    ("mkdirat", libc::SYS_mkdirat),
    ("openat2", libc::SYS_openat2),
    ("pwrite64", libc::SYS_pwrite64),
    ("renameat", libc::SYS_renameat),
    ("renameat2", libc::SYS_renameat2),
    ("symlinkat", libc::SYS_symlinkat),
    ("syncfs", libc::SYS_syncfs),
    ("write", libc::SYS_write),
];
const ERRORS: [(&str, libc::c_int); 5] = [
    ("EDQUOT", libc::EDQUOT),
    ("EIO", libc::EIO),
    ("ENOSPC", libc::ENOSPC),
    ("ENOSYS", libc::ENOSYS),
    ("EPERM", libc::EPERM),
];

/// Calls that fail with one error.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    call: libc::c_long,
    /// Argument, comparison and value; all of them have to fit.
    conditions: Vec<(u8, SeccompCmpOp, u64)>,
    error: libc::c_int,
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (which, error) = text.rsplit_once('=').context("a rule reads SYSCALL=ERROR")?;
        let mut parts = which.split('/');
        let call = number(&CALLS, parts.next().unwrap_or_default())?;
        Ok(Self { call, conditions: parts.map(condition).collect::<Result<_>>()?, error: number(&ERRORS, error)? })
    }
}

impl Rule {
    /// From now on, for this process and what it starts.
    pub(crate) fn apply(&self) -> Result<()> {
        let mut conditions = Vec::new();
        for (argument, how, value) in &self.conditions {
            conditions.push(SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, how.clone(), *value)?);
        }
        // No rule at all means every call.
        let rules = if conditions.is_empty() { Vec::new() } else { vec![SeccompRule::new(conditions)?] };
        let fail = SeccompAction::Errno(self.error.unsigned_abs());
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        let filter = SeccompFilter::new(BTreeMap::from([(self.call, rules)]), SeccompAction::Allow, fail, arch)?;
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

fn number<T: Copy>(known: &[(&str, T)], name: &str) -> Result<T> {
    let Some((_, number)) = known.iter().find(|(known, _)| *known == name) else {
        bail!("{name:?} is none of {:?}", known.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    };
    Ok(*number)
}
