//! The provider's pages. They work without script and on a phone, and every
//! text that came from outside is escaped.

use std::{fmt::Write, sync::LazyLock};

use aws_lc_rs::digest::{self, SHA256};
use axum::{
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use url::Url;

use super::{authorization::AuthorizationRequest, users::USERS};

const STYLE: &str = include_str!("page.css");

/// The style is inline, so the policy names it by its hash.
static STYLE_SOURCE: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest::digest(&SHA256, STYLE.as_bytes()));
    format!("'sha256-{hash}'")
});

/// The sign-in form. With `failed`, it comes back after a wrong password.
pub(super) fn sign_in(request: &AuthorizationRequest, username: &str, failed: bool) -> Response {
    let mut hidden = String::new();
    for (name, value) in request.fields() {
        let value = escape(value);
        // Writing to a String does not fail.
        let _ = writeln!(
            hidden,
            r#"<input type="hidden" name="{name}" value="{value}">"#
        );
    }
    let alert = if failed {
        r#"<p class="alert" id="alert" role="alert">The user name or the password is not right.</p>"#
    } else {
        ""
    };
    let described = if failed {
        r#" aria-invalid="true" aria-describedby="alert""#
    } else {
        ""
    };
    let mut people = String::new();
    for user in USERS {
        let _ = writeln!(
            people,
            "<li><code>{sub}</code>: {name}, {roles}</li>",
            sub = user.sub,
            name = user.name,
            roles = user.roles.join(" and "),
        );
    }
    let username = escape(username);
    let main = format!(
        r#"<h1>Sign in</h1>
{alert}
<form method="post" action="/login">
{hidden}<label for="username">User name</label>
<input id="username" name="username" value="{username}" autocomplete="username" autocapitalize="none" spellcheck="false" required autofocus{described}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required{described}>
<button type="submit">Sign in</button>
</form>
<p>This provider is for trying things out: everybody may sign in as one of these two. The password is the user name.</p>
<ul>
{people}</ul>"#
    );
    let status = if failed {
        StatusCode::UNAUTHORIZED
    } else {
        StatusCode::OK
    };
    page(status, "Sign in", &main, Some(&request.redirect_uri))
}

/// A page that says what went wrong where it would not be safe to redirect.
pub(super) fn refusal(status: StatusCode, what: &str) -> Response {
    let what = escape(what);
    let main = format!("<h1>This did not work</h1>\n<p>{what}</p>");
    page(status, "This did not work", &main, None)
}

pub(super) fn signed_out() -> Response {
    let main = "<h1>You are signed out</h1>\n<p>You can close this page.</p>";
    page(StatusCode::OK, "You are signed out", main, None)
}

fn page(status: StatusCode, title: &str, main: &str, form_target: Option<&Url>) -> Response {
    let body = format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Demo identity provider</title>
<style>{STYLE}</style>
</head>
<body>
<header>Demo identity provider</header>
<main>
{main}
</main>
</body>
</html>
"#
    );
    (
        status,
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
            (header::CONTENT_SECURITY_POLICY, policy(form_target)),
            (header::CACHE_CONTROL, "no-store".to_owned()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            (header::X_FRAME_OPTIONS, "DENY".to_owned()),
            // Not `no-referrer`: that makes the form's own Origin `null`.
            (header::REFERRER_POLICY, "same-origin".to_owned()),
        ] as [(HeaderName, String); 6],
        body,
    )
        .into_response()
}

/// Browsers hold `form-action` against the redirects that follow a form too, so
/// the client has to be in it, and the native apps on loopback behind the client.
fn policy(form_target: Option<&Url>) -> String {
    let style = &*STYLE_SOURCE;
    let form_action = match form_target {
        Some(url) => {
            let origin = url.origin().ascii_serialization();
            format!("'self' {origin} http://localhost:* http://127.0.0.1:*")
        }
        None => "'none'".to_owned(),
    };
    format!(
        "default-src 'none'; style-src {style}; form-action {form_action}; base-uri 'none'; \
         frame-ancestors 'none'"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}
