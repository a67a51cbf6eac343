//! The names of our metrics. `docs/metrics.md` says the same; a test sees to it.

/// A metric of the namespace `Cloakroom`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Metric {
    /// One per request, by outcome.
    Decisions,
    /// The identity was in memory.
    IdentityHits,
    /// The JWT was in memory.
    JwtMemoryHits,
    /// The JWT was in the family's item.
    JwtItemHits,
    /// A JWT was signed.
    Signatures,
    /// The epoch was read.
    EpochReads,
    /// How long each call to the store took.
    StoreMillis,
    /// How long each call to KMS took.
    KmsMillis,
    /// How long each call to an identity provider took.
    ProviderMillis,
    /// The authorizer answered with an error on purpose (401 or 503 to API Gateway),
    /// which Lambda counts in `Errors`.
    ErrorAnswers,
    /// A used refresh token came again; its family is revoked (D47).
    RefreshReuse,
    /// A used code came again; its family is revoked.
    CodeReplay,
    /// An assertion, a proof, a logout token or a state came again (D3, D55).
    Replay,
    /// Something sealed did not open: somebody wrote the table (D75).
    SealsBroken,
    /// An item of a format that this release does not know.
    UnknownFormat,
    /// DynamoDB or KMS refused a call because there were too many (D41, D42).
    Throttled,
    /// A cookie came from a foreign page (D20).
    CsrfRefusals,
    /// A request failed because DynamoDB, KMS or an identity provider did not answer.
    Unavailable,
    /// Data-key mode: whole days until the last key of the key set stops signing.
    SigningKeyDaysLeft,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Decisions,
        Self::IdentityHits,
        Self::JwtMemoryHits,
        Self::JwtItemHits,
        Self::Signatures,
        Self::EpochReads,
        Self::StoreMillis,
        Self::KmsMillis,
        Self::ProviderMillis,
        Self::ErrorAnswers,
        Self::RefreshReuse,
        Self::CodeReplay,
        Self::Replay,
        Self::SealsBroken,
        Self::UnknownFormat,
        Self::Throttled,
        Self::CsrfRefusals,
        Self::Unavailable,
        Self::SigningKeyDaysLeft,
    ];

    /// As CloudWatch knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decisions => "Decisions",
            Self::IdentityHits => "IdentityHits",
            Self::JwtMemoryHits => "JwtMemoryHits",
            Self::JwtItemHits => "JwtItemHits",
            Self::Signatures => "Signatures",
            Self::EpochReads => "EpochReads",
            Self::StoreMillis => "StoreMillis",
            Self::KmsMillis => "KmsMillis",
            Self::ProviderMillis => "ProviderMillis",
            Self::ErrorAnswers => "ErrorAnswers",
            Self::RefreshReuse => "RefreshReuse",
            Self::CodeReplay => "CodeReplay",
            Self::Replay => "Replay",
            Self::SealsBroken => "SealsBroken",
            Self::UnknownFormat => "UnknownFormat",
            Self::Throttled => "Throttled",
            Self::CsrfRefusals => "CsrfRefusals",
            Self::Unavailable => "Unavailable",
            Self::SigningKeyDaysLeft => "SigningKeyDaysLeft",
        }
    }

    /// By what it is split: every combination is a metric that costs money. What must
    /// stay at zero is one number for a system, so that no alarm forgets a function.
    pub fn dimensions(self) -> &'static [&'static str] {
        match self {
            Self::Decisions => &["stack", "function", "outcome"],
            Self::IdentityHits
            | Self::JwtMemoryHits
            | Self::JwtItemHits
            | Self::Signatures
            | Self::EpochReads
            | Self::StoreMillis
            | Self::KmsMillis
            | Self::ProviderMillis
            | Self::ErrorAnswers => &["stack", "function"],
            Self::RefreshReuse
            | Self::CodeReplay
            | Self::Replay
            | Self::SealsBroken
            | Self::UnknownFormat
            | Self::Throttled
            | Self::CsrfRefusals
            | Self::Unavailable
            | Self::SigningKeyDaysLeft => &["stack"],
        }
    }

    /// CloudWatch's unit.
    pub fn unit(self) -> &'static str {
        match self {
            Self::StoreMillis | Self::KmsMillis | Self::ProviderMillis => "Milliseconds",
            Self::Decisions
            | Self::IdentityHits
            | Self::JwtMemoryHits
            | Self::JwtItemHits
            | Self::Signatures
            | Self::EpochReads
            | Self::ErrorAnswers
            | Self::RefreshReuse
            | Self::CodeReplay
            | Self::Replay
            | Self::SealsBroken
            | Self::UnknownFormat
            | Self::Throttled
            | Self::CsrfRefusals
            | Self::Unavailable
            | Self::SigningKeyDaysLeft => "Count",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_exactly_these_metrics_in_this_order() {
        let documented: Vec<_> = include_str!("../../../../docs/metrics.md")
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.splitn(4, " | ");
                let name = cells.next()?.trim_end_matches('`');
                Some((name, cells.next()?, cells.next()?.to_owned()))
            })
            .collect();
        let real: Vec<_> = Metric::ALL
            .iter()
            .map(|metric| (metric.name(), metric.unit(), metric.dimensions().join(", ")))
            .collect();
        assert_eq!(documented, real);
    }

    #[test]
    fn the_list_of_all_forgets_none() {
        // The derived order is the order of declaration.
        assert!(Metric::ALL.is_sorted());
        assert_eq!(
            Metric::ALL.last().map(|last| *last as usize + 1),
            Some(Metric::ALL.len())
        );
    }
}
