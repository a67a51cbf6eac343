//! The refresh rotation (docs/rotation.md): a model of it, checked in every state
//! that it can reach; the model held to the real code; and the real code under load.

mod checks;
mod protocol;
mod real;
mod rules;
mod storm;
