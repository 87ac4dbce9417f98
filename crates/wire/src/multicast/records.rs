//! What a report says of groups.
//!
//! Source lists are not kept: who wants a group from some sources gets it from all, and its own stack takes what it wants. So a
//! record is a join where it names any source that is wanted, a leave where none is left, and nothing else otherwise.

use super::{Body, is_joinable};
use crate::{IpVersion, ethernet::be16};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const MODE_IS_INCLUDE: u8 = 1;
const MODE_IS_EXCLUDE: u8 = 2;
const CHANGE_TO_INCLUDE: u8 = 3;
const CHANGE_TO_EXCLUDE: u8 = 4;
const ALLOW_NEW_SOURCES: u8 = 5;

/// Bytes before the first record, in IGMPv3 and in MLDv2.
const REPORT_LEN: usize = 8;
/// Bytes of a record before its group.
const RECORD_LEN: usize = 4;

/// What a host says of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which group. Never one that is [local](super::is_local).
    pub group: IpAddr,
    /// What it says.
    pub change: Change,
}

/// What a host says of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It wants the group.
    Joins,
    /// It does not want it any more.
    Leaves,
}

/// The records of one report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records<'a> {
    one: Option<Record>,
    rest: &'a [u8],
    left: u16,
    version: IpVersion,
    leaves_count: bool,
    whole: bool,
}

impl<'a> Records<'a> {
    /// A report of a version that tells of one group at a time.
    pub(super) fn one(record: Record) -> Self {
        let one = Some(record).filter(|record| is_joinable(&record.group));
        let version = super::version_of(&record.group);
        Self { one, rest: &[], left: 0, version, leaves_count: true, whole: true }
    }

    /// A report with a list. `None` where it is at hand as a whole and the list does not fit in.
    pub(super) fn listed(version: IpVersion, body: Body<'a>, leaves_count: bool) -> Option<Self> {
        let (left, rest) = (be16(body.bytes, REPORT_LEN - 2)?, body.bytes.get(REPORT_LEN..)?);
        let records = Self { one: None, rest, left, version, leaves_count, whole: body.whole };
        let mut all = records.clone();
        let fits = core::iter::from_fn(|| all.take_one(body.whole)).count() == usize::from(left);
        (fits || !body.whole).then_some(records)
    }

    /// Which IP it is about.
    #[must_use]
    pub const fn version(&self) -> IpVersion {
        self.version
    }

    /// True where all of the report is at hand, and its checksum right.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.whole
    }

    /// True where records are left that lie behind the bytes at hand; to be asked once the iterator has ended.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.left != 0
    }

    /// The next record's type, whether it names sources, and its group. One whose sources lie behind the bytes at hand counts,
    /// unless it has to be `whole`.
    fn take_one(&mut self, whole: bool) -> Option<(u8, bool, IpAddr)> {
        let (kind, words, sources) = (*self.rest.first()?, *self.rest.get(1)?, be16(self.rest, 2)?);
        let rest = self.rest.get(RECORD_LEN..)?;
        let (group, address_len) = match self.version {
            IpVersion::V4 => (IpAddr::from(Ipv4Addr::from(*rest.first_chunk::<4>()?)), 4),
            IpVersion::V6 => (IpAddr::from(Ipv6Addr::from(*rest.first_chunk::<16>()?)), 16),
        };
        self.left = self.left.checked_sub(1)?;
        let behind = rest.get(address_len * (1 + usize::from(sources)) + 4 * usize::from(words)..);
        self.rest = if whole { behind? } else { behind.unwrap_or_default() };
        Some((kind, sources != 0, group))
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if let Some(one) = self.one.take() {
            return Some(one);
        }
        loop {
            let (kind, some, group) = self.take_one(false)?;
            let change = match (kind, some) {
                (MODE_IS_EXCLUDE | CHANGE_TO_EXCLUDE, _)
                | (MODE_IS_INCLUDE | CHANGE_TO_INCLUDE | ALLOW_NEW_SOURCES, true) => Change::Joins,
                (CHANGE_TO_INCLUDE, false) if self.leaves_count => Change::Leaves,
                _ => continue,
            };
            if is_joinable(&group) {
                return Some(Record { group, change });
            }
        }
    }
}
