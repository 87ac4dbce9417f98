//! Namespaces, cables, physical switches, far hosts and guests for demo and tests.
