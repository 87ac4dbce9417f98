//! One field of a frame, and which rules it lets through: a row of bits, one for each rule, for each range of values that
//! all rules see alike (Lakshman and Stiliadis, "High-speed policy-based packet forwarding using efficient multi-dimensional
//! range matching", 1998).
//!
//! The first word of a row says which of the others are not zero, so that who joins the rows of several fields looks at few of
//! them, wherever in its list the rule is that matches (Baboescu and Varghese, "Scalable packet classification", 2001).

use alloc::{vec, vec::Vec};

/// A row of bits, of up to 64 words; it begins with one that says which of them are not zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row(Vec<u64>);

/// The values that a rule takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes<K> {
    All,
    Nothing,
    /// From the first to the last.
    Range(K, K),
}

impl<K> Takes<K> {
    fn range(self) -> Option<(K, K)> {
        match self {
            Self::Range(first, last) => Some((first, last)),
            Self::All | Self::Nothing => None,
        }
    }
}

/// Into how many strides the values of a field are cut, with one more for those behind the last.
const STRIDES: usize = 514;

/// What is a number.
pub(super) trait Number: Copy + Ord + Default {
    /// The one behind it.
    fn next(self) -> Option<Self>;

    /// How many times `1 << shift` it is above `least`; none where it is below.
    fn steps_above(self, least: Self, shift: u32) -> usize;

    /// The least shift by which `self` is no more than `most` steps above `least`.
    fn shift_for(self, least: Self, most: usize) -> u32 {
        (0..128).find(|shift| self.steps_above(least, *shift) <= most).unwrap_or(0)
    }
}

macro_rules! numbers {
    ($($number:ty),+) => {
        $(impl Number for $number {
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            #[inline]
            fn steps_above(self, least: Self, shift: u32) -> usize {
                (self.saturating_sub(least) >> shift.min(<$number>::BITS - 1)).try_into().unwrap_or(usize::MAX)
            }
        })+
    };
}
numbers!(u16, u32, u64, u128);

impl Row {
    pub(super) fn new(words: usize) -> Self {
        Self(vec![0; words + 1])
    }

    /// The row of those rules for which `is_in` is true.
    pub(super) fn of(rules: usize, words: usize, is_in: impl Fn(usize) -> bool) -> Self {
        let mut row = Self::new(words);
        (0..rules).filter(|rule| is_in(*rule)).for_each(|rule| row.set(rule, true));
        row
    }

    fn set(&mut self, rule: usize, to: bool) {
        let (at, bit) = (rule / 64, 1 << (rule % 64));
        let Some(word) = self.0.get_mut(at + 1) else { return };
        *word = if to { *word | bit } else { *word & !bit };
        let some = u64::from(*word != 0) << at;
        if let Some(first) = self.0.first_mut() {
            *first = *first & !(1 << at) | some;
        }
    }

    pub(super) fn words(&self) -> &[u64] {
        &self.0
    }
}

/// A field whose values are numbers.
#[derive(Clone, Debug)]
pub(super) struct Field<K> {
    /// Where ranges begin, ascending; the first one is zero.
    starts: Vec<K>,
    /// The values between the second start and the last one are cut into strides of equal length: for each how many starts lie
    /// before it, or in it too for the next one. So few are left to be compared.
    strides: Vec<u32>,
    least: K,
    shift: u32,
    /// Their rows, one behind the other.
    rows: Vec<u64>,
    /// Words of a row with its first.
    len: usize,
}

impl<K: Number> Field<K> {
    /// Of rules that fit into rows of `words`.
    pub(super) fn new(rules: &[Takes<K>], words: usize) -> Self {
        let (begin, end) = edges(rules);
        let mut starts: Vec<K> = begin.iter().chain(&end).map(|(start, _)| *start).collect();
        starts.push(K::default());
        starts.sort_unstable();
        starts.dedup();
        let mut row = Row::of(rules.len(), words, |rule| rules.get(rule) == Some(&Takes::All));
        let mut rows = Vec::with_capacity(starts.len() * row.words().len());
        let (mut begin, mut end) = (begin.into_iter().peekable(), end.into_iter().peekable());
        for start in &starts {
            while let Some((_, rule)) = end.next_if(|(at, _)| at <= start) {
                row.set(rule, false);
            }
            while let Some((_, rule)) = begin.next_if(|(at, _)| at <= start) {
                row.set(rule, true);
            }
            rows.extend_from_slice(row.words());
        }
        let least = starts.get(1).copied().unwrap_or_default();
        let shift = starts.last().map_or(0, |last| last.shift_for(least, STRIDES - 2));
        let before =
            |stride: usize| starts.partition_point(|start| start.steps_above(least, shift) < stride) as u32;
        let strides = (0..STRIDES).map(before).collect();
        Self {
            strides: if starts.len() > 1 { strides } else { Vec::new() },
            least,
            shift,
            starts,
            rows,
            len: words + 1,
        }
    }

    /// The rules that take this value.
    #[inline]
    pub(super) fn row(&self, value: K) -> &[u64] {
        let at = self.range(value) * self.len;
        self.rows.get(at..at + self.len).unwrap_or_default()
    }

    /// In which range a value is.
    #[inline]
    fn range(&self, value: K) -> usize {
        if self.strides.is_empty() {
            return 0;
        }
        let stride = value.steps_above(self.least, self.shift).min(STRIDES - 2);
        let Some([from, until]) = self.strides.get(stride..stride + 2) else { return 0 };
        let (from, until) = (*from as usize, *until as usize);
        let within = self.starts.get(from..until).unwrap_or_default();
        (from + within.partition_point(|start| *start <= value)).saturating_sub(1)
    }

    pub(super) const fn bytes(&self) -> usize {
        self.starts.len() * size_of::<K>() + self.rows.len() * size_of::<u64>()
    }
}

type Edges<K> = Vec<(K, usize)>;

/// Where rules begin to take values, and where they no longer do, each in ascending order.
fn edges<K: Number>(rules: &[Takes<K>]) -> (Edges<K>, Edges<K>) {
    let ranges = || rules.iter().enumerate().filter_map(|(rule, takes)| Some((rule, takes.range()?)));
    let mut begin: Vec<_> = ranges().map(|(rule, (first, _))| (first, rule)).collect();
    let mut end: Vec<_> = ranges().filter_map(|(rule, (_, last))| Some((last.next()?, rule))).collect();
    begin.sort_unstable();
    end.sort_unstable();
    (begin, end)
}

/// The rows of a frame's fields.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, const N: usize> {
    rows: [&'a [u64]; N],
    /// In which words all of them have something.
    shared: u64,
}

impl<'a, const N: usize> Rows<'a, N> {
    #[inline]
    pub(super) fn new(rows: [&'a [u64]; N]) -> Self {
        Self { shared: common(&rows, 0), rows }
    }

    /// The first rule that is in all rows, of those in the words that `candidates` names.
    #[inline]
    pub(super) fn first(&self, candidates: u64) -> Option<usize> {
        let mut left = self.shared & candidates;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            let common = common(&self.rows, at + 1);
            if common != 0 {
                return Some(at * 64 + common.trailing_zeros() as usize);
            }
            left &= left - 1;
        }
        None
    }
}

/// What all rows have at this word.
#[inline]
fn common<const N: usize>(rows: &[&[u64]; N], at: usize) -> u64 {
    rows.iter().fold(u64::MAX, |all, row| all & row.get(at).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use std::vec::Vec;

    fn members(row: &[u64]) -> Vec<usize> {
        let words = row.iter().skip(1).enumerate();
        let bits = words.flat_map(|(at, word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        });
        bits.collect()
    }

    proptest! {
        #[test]
        fn a_row_holds_the_rules_that_take_the_value(
            rules in vec((0..10u8, any::<u16>(), 0..2000u16), 0..200),
            values in vec(any::<u16>(), 1..50),
        ) {
            let rules: Vec<_> = rules.iter().map(|(kind, first, more)| match kind {
                0 => Takes::All,
                1 => Takes::Nothing,
                _ => Takes::Range(*first, first.saturating_add(*more)),
            }).collect();
            let field = Field::new(&rules, 4);
            let ranges = rules.iter().filter_map(|takes| takes.range());
            let edges = ranges.flat_map(|(first, last)| [first, last, first.saturating_sub(1), last.saturating_add(1)]);
            for value in values.into_iter().chain(edges).chain([0, u16::MAX]) {
                let takes = |rule: &usize| match rules[*rule] {
                    Takes::All => true,
                    Takes::Nothing => false,
                    Takes::Range(first, last) => (first..=last).contains(&value),
                };
                let naive: Vec<_> = (0..rules.len()).filter(takes).collect();
                let row = field.row(value);
                prop_assert_eq!(members(row), naive);
                for at in 0..4 {
                    prop_assert_eq!(row[0] >> at & 1 == 1, row[at + 1] != 0);
                }
            }
        }

        #[test]
        fn the_first_common_rule_is_found_among_the_candidates(
            lists in vec(vec(0..256usize, 0..60), 3), candidates in 0..16u64,
        ) {
            let rows: Vec<_> = lists.iter().map(|list| Row::of(256, 4, |rule| list.contains(&rule))).collect();
            let common = (0..256).find(|rule| candidates >> (rule / 64) & 1 == 1 && lists.iter().all(|list| list.contains(rule)));
            prop_assert_eq!(Rows::new([rows[0].words(), rows[1].words(), rows[2].words()]).first(candidates), common);
        }
    }

    #[test]
    fn addresses_of_ipv6_are_numbers_too() {
        let field = Field::new(&[Takes::Range(5u128, u128::MAX), Takes::Range(0, 4), Takes::All], 1);
        assert_eq!(members(field.row(4)), [1, 2]);
        assert_eq!(members(field.row(u128::MAX)), [0, 2]);
    }
}
