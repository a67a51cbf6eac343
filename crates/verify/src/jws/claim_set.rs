//! Typed reading of claims, and the arithmetic of their times.
//!
//! A claim of the wrong type is an error and never "absent": `iss` as an array
//! that contains ours is not our `iss`.

use std::fmt;

use cloakroom_jose::json::Document;
use serde_json::{Map, Value};

use super::JwsError;

/// The year 9999. A later time is a mistake or an attempt at overflow.
const LAST_TIME: u64 = 253_402_300_799;

/// The claims of one token.
#[derive(Clone, PartialEq)]
pub struct ClaimSet(Map<String, Value>);

impl ClaimSet {
    /// Reads claims that nobody signed, such as a UserInfo response: one JSON object
    /// without duplicate names. Whether to believe them is the caller's business.
    pub fn parse_unsigned(json: &[u8]) -> Option<Self> {
        let document = Document::read(json).ok()?;
        let claims = document.root().as_object()?;
        Some(Self(claims.to_serde_json()))
    }

    /// What is at a JSON pointer (RFC 6901) below the claims.
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        let path = pointer.strip_prefix('/')?;
        let (name, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        let name = name.replace("~1", "/").replace("~0", "~");
        self.0.get(&name)?.pointer(rest)
    }

    /// A claim as it came.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All claims as they came.
    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }

    /// A string that must be there and not be empty.
    ///
    /// # Errors
    ///
    /// [`JwsError::Claim`] if it is not.
    pub fn string(&self, name: &'static str) -> Result<&str, JwsError> {
        self.optional_string(name)?
            .filter(|text| !text.is_empty())
            .ok_or(JwsError::Claim(name))
    }

    /// A string that may be left out.
    ///
    /// # Errors
    ///
    /// [`JwsError::Claim`] if it is there and not a string.
    pub fn optional_string(&self, name: &'static str) -> Result<Option<&str>, JwsError> {
        self.0
            .get(name)
            .map(|value| value.as_str().ok_or(JwsError::Claim(name)))
            .transpose()
    }

    /// A list of strings that may be left out, which is the empty list.
    ///
    /// # Errors
    ///
    /// [`JwsError::Claim`] if it is there and anything else.
    pub fn strings(&self, name: &'static str) -> Result<Vec<&str>, JwsError> {
        match self.0.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| value.as_str().ok_or(JwsError::Claim(name)))
                .collect(),
            Some(_) => Err(JwsError::Claim(name)),
        }
    }

    /// The audiences: a string or an array of strings (RFC 7519 §4.1.3), at least one.
    ///
    /// # Errors
    ///
    /// [`JwsError::Claim`] if `aud` is missing, empty or anything else.
    pub fn audiences(&self) -> Result<Vec<&str>, JwsError> {
        let audiences = match self.0.get("aud") {
            Some(Value::String(one)) => vec![one.as_str()],
            _ => self.strings("aud")?,
        };
        if audiences.is_empty() {
            return Err(JwsError::Claim("aud"));
        }
        Ok(audiences)
    }

    /// A time that must be there, in whole seconds.
    ///
    /// # Errors
    ///
    /// [`JwsError::Claim`] if it is missing, or not a number between 1970 and 9999.
    pub fn time(&self, name: &'static str) -> Result<u64, JwsError> {
        self.optional_time(name)?.ok_or(JwsError::Claim(name))
    }

    /// A time that may be left out, in seconds; a fraction is dropped (RFC 7519 §2 allows it).
    ///
    /// # Errors
    ///
    /// [`JwsError::Claim`] if it is there and not a number between 1970 and 9999.
    pub fn optional_time(&self, name: &'static str) -> Result<Option<u64>, JwsError> {
        self.0
            .get(name)
            .map(|value| {
                value
                    .as_u64()
                    .or_else(|| value.as_f64().and_then(whole_seconds))
                    .filter(|time| *time <= LAST_TIME)
                    .ok_or(JwsError::Claim(name))
            })
            .transpose()
    }

    /// Judges `exp` and `iat`, which must be there, and `nbf`, which may be.
    ///
    /// # Errors
    ///
    /// If the token is dead, not alive yet, or lives longer than it may.
    pub fn check_times(&self, rules: TimeRules) -> Result<(), JwsError> {
        let TimeRules {
            now,
            leeway,
            max_lifetime,
        } = rules;
        let exp = self.time("exp")?;
        let iat = self.time("iat")?;
        if now >= exp.saturating_add(leeway) {
            return Err(JwsError::Expired);
        }
        if iat > now.saturating_add(leeway) {
            return Err(JwsError::IssuedInFuture);
        }
        if self
            .optional_time("nbf")?
            .is_some_and(|nbf| nbf > now.saturating_add(leeway))
        {
            return Err(JwsError::NotYetValid);
        }
        match exp.checked_sub(iat) {
            Some(lifetime) if lifetime <= max_lifetime => Ok(()),
            _ => Err(JwsError::LifetimeTooLong),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the fraction is dropped on purpose, and what is too large becomes the largest"
)]
fn whole_seconds(time: f64) -> Option<u64> {
    (time >= 0.0).then_some(time as u64)
}

/// Names only: claims are personal data.
impl fmt::Debug for ClaimSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// How [`ClaimSet::check_times`] judges, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct TimeRules {
    /// The time, since 1970.
    pub now: u64,
    /// How far the clocks of issuer and verifier may be apart.
    pub leeway: u64,
    /// The most that `exp` may lie after `iat`.
    pub max_lifetime: u64,
}
