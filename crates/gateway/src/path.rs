//! Request paths as API Gateway writes them.

/// The path without its stage: HTTP APIs write a stage other than `$default` in front.
pub(crate) fn without_stage<'a>(path: &'a str, stage: Option<&str>) -> &'a str {
    let stripped = stage
        .filter(|stage| !stage.is_empty() && *stage != "$default")
        .and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage));
    match stripped {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}
