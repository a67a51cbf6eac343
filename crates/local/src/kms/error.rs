//! The faults of the KMS endpoint, and what they are called on the wire.

use axum::http::StatusCode;

/// A request that KMS refuses. `Display` is the message a client sees.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KmsError {
    /// No key or alias has this name.
    #[error("there is no such key")]
    NotFound,
    /// The text starts like an ARN and is not one of a key.
    #[error("this is not the ARN of a key or an alias")]
    InvalidArn,
    /// The key is disabled.
    #[error("the key is disabled")]
    Disabled,
    /// The key is waiting for its deletion.
    #[error("the key is pending deletion")]
    InvalidState,
    /// The key is not for this operation or algorithm.
    #[error("the key cannot be used for this operation or with this algorithm")]
    InvalidKeyUsage,
    /// AWS can do this; this endpoint, or this kind of key, cannot.
    #[error("the operation is not supported here for this kind of key")]
    UnsupportedOperation,
    /// A member of the request is wrong.
    #[error("the request is not valid: {0}")]
    Validation(&'static str),
    /// The body is not JSON.
    #[error("the request cannot be read")]
    Serialization,
    /// The target is none of the operations here.
    #[error("the operation is not known")]
    UnknownOperation,
    /// The request carries no `Authorization` header.
    #[error("the request is not signed")]
    MissingAuthentication,
    /// The ciphertext is of another key.
    #[error("the ciphertext was not made with this key")]
    IncorrectKey,
    /// The ciphertext, its context or its key is wrong; which, is not said.
    #[error("the ciphertext cannot be opened")]
    InvalidCiphertext,
    /// The signature does not fit.
    #[error("the signature is not valid")]
    InvalidSignature,
    /// The MAC does not fit.
    #[error("the MAC is not valid")]
    InvalidMac,
    /// The alias is taken.
    #[error("the alias already exists")]
    AlreadyExists,
    /// The alias has a name that KMS does not take.
    #[error("the alias name is not valid")]
    InvalidAliasName,
    /// There are too many keys or aliases.
    #[error("there are too many keys or aliases")]
    LimitExceeded,
    /// The cryptographic library failed.
    #[error("the cryptographic operation failed")]
    Crypto,
    /// The key file could not be written.
    #[error("the key file cannot be written")]
    Storage(#[source] std::io::Error),
}

impl KmsError {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "NotFoundException",
            Self::InvalidArn => "InvalidArnException",
            Self::Disabled => "DisabledException",
            Self::InvalidState => "KMSInvalidStateException",
            Self::InvalidKeyUsage => "InvalidKeyUsageException",
            Self::UnsupportedOperation => "UnsupportedOperationException",
            Self::Validation(_) => "ValidationException",
            Self::Serialization => "SerializationException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::MissingAuthentication => "MissingAuthenticationTokenException",
            Self::IncorrectKey => "IncorrectKeyException",
            Self::InvalidCiphertext => "InvalidCiphertextException",
            Self::InvalidSignature => "KMSInvalidSignatureException",
            Self::InvalidMac => "KMSInvalidMacException",
            Self::AlreadyExists => "AlreadyExistsException",
            Self::InvalidAliasName => "InvalidAliasNameException",
            Self::LimitExceeded => "LimitExceededException",
            Self::Crypto | Self::Storage(_) => "KMSInternalException",
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Crypto | Self::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound
            | Self::InvalidArn
            | Self::Disabled
            | Self::InvalidState
            | Self::InvalidKeyUsage
            | Self::UnsupportedOperation
            | Self::Validation(_)
            | Self::Serialization
            | Self::UnknownOperation
            | Self::MissingAuthentication
            | Self::IncorrectKey
            | Self::InvalidCiphertext
            | Self::InvalidSignature
            | Self::InvalidMac
            | Self::AlreadyExists
            | Self::InvalidAliasName
            | Self::LimitExceeded => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<aws_lc_rs::error::Unspecified> for KmsError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Crypto
    }
}

impl From<aws_lc_rs::error::KeyRejected> for KmsError {
    fn from(_: aws_lc_rs::error::KeyRejected) -> Self {
        Self::Crypto
    }
}

/// Why a key file could not be opened. It never quotes the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be read.
    #[error("the key file cannot be read")]
    Read(#[source] std::io::Error),
    /// The file did not exist and cannot be created.
    #[error("the key file cannot be created")]
    Create(#[source] std::io::Error),
    /// The file can be read or written by others than its owner.
    #[error("the key file is open to others than its owner")]
    Exposed,
    /// The file is not a key file of this version, or one of its keys is broken.
    #[error("the key file does not hold keys as they are written here")]
    Malformed,
}
