//! Access lists.

mod flows;
mod frames;
mod lists;
mod naive;
mod port;
mod sources;
mod tcp;
