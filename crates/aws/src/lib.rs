//! Adapters to AWS, and the system's clock and random generator.
//!
//! Each implements ports of `cloakroom-domain` and decides nothing. A function
//! links, by feature, only the services that its role may call. No error of this
//! crate shows what a request or an item contained (see [`CallFailure`]).

mod failure;
mod sdk;
mod system;

#[cfg(feature = "dynamodb")]
pub mod dynamo;
#[cfg(feature = "kms")]
pub mod kms;
#[cfg(feature = "secrets")]
pub mod secrets;

pub use failure::{CallFailure, Trouble};
pub use sdk::{Limits, sdk_config, sdk_loader};
pub use system::{SystemClock, SystemEntropy, world};
