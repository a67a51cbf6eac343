//! Keys: who signs, what is published, how one key follows another, and what
//! somebody who can write the table can make of it.

mod algorithms;
mod key_set;
mod rotation;
mod simulation;
mod trouble;
