//! Access lists.

mod frames;
mod lists;
mod naive;
