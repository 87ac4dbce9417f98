//! The pure switching logic: MAC table, pipeline, verdicts.
