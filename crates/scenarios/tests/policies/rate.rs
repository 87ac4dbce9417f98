//! How fast frames may pass.

#[path = "rate/maximum.rs"]
mod maximum;
#[path = "rate/minimum.rs"]
mod minimum;
#[path = "rate/stage.rs"]
mod stage;
#[path = "rate/storm.rs"]
mod storm;
