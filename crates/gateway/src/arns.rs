//! What every ARN has in common, and ARNs of keys.

/// Whether this is a partition of AWS: `aws`, or `aws-` and more (`aws-cn`, `aws-us-gov`,
/// `aws-eusc`, …). New partitions come, so there is no list.
pub(crate) fn is_partition(text: &str) -> bool {
    let is_word = |word: &str| {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !word.is_empty() && word.bytes().all(fits)
    };
    let mut words = text.split('-');
    text.len() <= 32 && words.next() == Some("aws") && words.all(is_word)
}

/// A key, not an alias: an alias may point elsewhere between the moment its `kid` is
/// written and the moment it signs.
pub(crate) fn is_key_arn(text: &str) -> bool {
    let parts: Vec<_> = text.split(':').collect();
    matches!(
        parts.as_slice(),
        ["arn", partition, "kms", _, _, resource]
            if is_partition(partition)
                && resource.strip_prefix("key/").is_some_and(|id| !id.is_empty())
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const PARTITIONS: [&str; 8] = [
        "aws",
        "aws-cn",
        "aws-us-gov",
        "aws-eusc",
        "aws-iso",
        "aws-iso-b",
        "aws-iso-e",
        "aws-iso-f",
    ];
    pub(crate) const NO_PARTITIONS: [&str; 10] = [
        "", "aws-", "awsx", "AWS", "aws-CN", "aws--cn", "-aws", "aws-cn-", "aws_cn", "*",
    ];

    #[test]
    fn d80_every_partition_is_one_and_nothing_like_it() {
        for partition in PARTITIONS {
            assert!(is_partition(partition), "{partition}");
            let key = format!("arn:{partition}:kms:eu-central-1:111122223333:key/1234abcd");
            assert!(is_key_arn(&key), "{key}");
        }
        for other in NO_PARTITIONS {
            assert!(!is_partition(other), "{other}");
            let key = format!("arn:{other}:kms:eu-central-1:111122223333:key/1234abcd");
            assert!(!is_key_arn(&key), "{key}");
        }
    }
}
