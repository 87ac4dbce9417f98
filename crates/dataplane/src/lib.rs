//! Worker loops: receive, decide, deliver, count.
