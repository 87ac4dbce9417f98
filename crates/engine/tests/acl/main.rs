//! Access lists.

mod assured;
mod flows;
mod frames;
mod lately;
mod lists;
mod naive;
mod port;
mod sources;
mod tcp;
mod together;
