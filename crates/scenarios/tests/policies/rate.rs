//! How fast frames may pass.

#[path = "rate/maximum.rs"]
mod maximum;
#[path = "rate/stage.rs"]
mod stage;
