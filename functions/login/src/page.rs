//! The few pages that people see. No script, no form but one, nothing loaded.

use cloakroom_domain::config::Config;
use cloakroom_domain::login::LoginError;
use cloakroom_domain::visible::visible;
use cloakroom_gateway::http::{
    Page, Params, Request, Response, StatusCode, escape, header, with_query,
};
use serde::Serialize;

const STYLE: &str = include_str!("page.css");

#[derive(Serialize)]
struct ErrorBody {
    error: &'static str,
    error_description: &'static str,
}

/// Goes on to `return_to` by itself: the request that follows comes from our own
/// site, so that the Strict cookie is sent with it.
pub(crate) fn landing(return_to: &str) -> Response {
    let body = format!(
        "<h1>Signed in</h1><p><a href=\"{}\">Go on</a></p>",
        escape(return_to)
    );
    Response::html(
        StatusCode::OK,
        &Page {
            title: "Signed in",
            style: STYLE,
            refresh: Some(return_to),
            body: &body,
        },
    )
}

/// The same request once more, from a page of ours: now the Strict cookie comes
/// along.
pub(crate) fn second_look(url: &str) -> Response {
    let body = format!(
        "<h1>One moment</h1><p><a href=\"{}\">Go on</a></p>",
        escape(url)
    );
    Response::html(
        StatusCode::OK,
        &Page {
            title: "One moment",
            style: STYLE,
            refresh: Some(url),
            body: &body,
        },
    )
}

/// A name as HTML. It may be of any script and from anybody: nothing in it is hidden, and it
/// does not turn the words around it (Unicode Standard Annex #9).
fn name(text: &str) -> String {
    format!("<bdi>{}</bdi>", escape(&visible(text)))
}

/// Asks whether it was the user who started this client.
pub(crate) fn confirmation(ticket: &str, client: &str, scope: &str, user: &str) -> Response {
    let mut scopes = String::new();
    for scope in scope.split(' ') {
        scopes += "<li><code>";
        scopes += &escape(scope);
        scopes += "</code></li>";
    }
    let body = format!(
        "<h1>Let {client} in?</h1>\
         <p>You are signed in as <strong>{user}</strong>. \
         <strong>{client}</strong> asks to act for you:</p><ul>{scopes}</ul>\
         <p>Say yes only if you have just started it yourself.</p>\
         <form method=\"post\" action=\"/oauth/authorize\">\
         <input type=\"hidden\" name=\"ticket\" value=\"{ticket}\">\
         <button name=\"decision\" value=\"allow\">Yes, let it in</button>\
         <button name=\"decision\" value=\"deny\">No</button></form>",
        client = name(client),
        user = name(user),
        ticket = escape(ticket),
    );
    // Under `no-referrer` browsers send `Origin: null` with a form (Fetch standard), which
    // looks like a forged one. The path, which may hold a code, stays out of this too.
    html(StatusCode::OK, "Confirm", &body).header(header::REFERRER_POLICY, "strict-origin")
}

/// Asks which provider it shall be: by a link each, and by an e-mail address where
/// addresses tell. Whatever else was asked for stays asked for.
pub(crate) fn chooser(request: &Request, config: &Config, path: &str, query: &Params) -> Response {
    #[derive(Serialize)]
    struct Choice<'a> {
        error: &'static str,
        error_description: &'static str,
        identity_providers: Vec<&'a str>,
    }
    let providers = &config.identity_providers;
    if !request.prefers_html() {
        let choice = Choice {
            error: "choice_needed",
            error_description: "say which identity provider: idp=ID",
            identity_providers: providers.iter().map(|idp| idp.id.as_str()).collect(),
        };
        return Response::json(StatusCode::BAD_REQUEST, &choice);
    }
    let rest = || {
        query
            .pairs()
            .filter(|(name, _)| !matches!(*name, "idp" | "login_hint"))
    };
    let mut links = String::new();
    for idp in providers {
        let mut pairs: Vec<_> = rest().collect();
        pairs.push(("idp", &idp.id));
        links += "<li><a href=\"";
        links += &escape(&with_query(path, &pairs));
        links += "\">";
        links += &name(idp.display_name());
        links += "</a></li>";
    }
    let mut body = format!("<h1>How do you sign in?</h1><ul class=\"choice\">{links}</ul>");
    if providers.iter().any(|idp| !idp.email_domains.is_empty()) {
        let hint = query.get("login_hint").unwrap_or_default();
        let mut hidden = String::new();
        for (name, value) in rest() {
            hidden += "<input type=\"hidden\" name=\"";
            hidden += &escape(name);
            hidden += "\" value=\"";
            hidden += &escape(value);
            hidden += "\">";
        }
        let unknown = if hint.is_empty() {
            ""
        } else {
            "<p role=\"alert\">Nobody here is known to have addresses like this one.</p>"
        };
        let form = format!(
            "<form method=\"get\" action=\"{path}\">{hidden}{unknown}\
             <label for=\"login_hint\">Or by your e-mail address</label>\
             <input id=\"login_hint\" name=\"login_hint\" type=\"email\" value=\"{hint}\" \
             autocomplete=\"email\" required>\
             <button>Go on</button></form>",
            hint = escape(hint),
        );
        body += &form;
    }
    html(StatusCode::OK, "Sign in", &body)
}

/// A login that did not work: what happened, and a way on.
pub(crate) fn login_failed(request: &Request, error: LoginError, return_to: &str) -> Response {
    let (status, title, text) = match error {
        LoginError::Unavailable(_) => {
            let response = answer(
                request,
                StatusCode::SERVICE_UNAVAILABLE,
                "Just a moment",
                "temporarily_unavailable",
                "We cannot sign you in right now. Please try again in a moment.",
                return_to,
            );
            return response.header(header::RETRY_AFTER, "5");
        }
        LoginError::NotPending => (
            "not_pending",
            "No sign-in is under way",
            "It may have been finished in another tab, or it took too long. If you came here by the back button, you may be signed in already.",
        ),
        LoginError::Replayed => (
            "replayed",
            "This sign-in is done",
            "The page was loaded twice. You may be signed in already.",
        ),
        LoginError::Denied => (
            "denied",
            "Not signed in",
            "Your identity provider did not sign you in.",
        ),
        LoginError::Refused(_) => (
            "refused",
            "Not signed in",
            "The answer of your identity provider could not be accepted.",
        ),
        LoginError::SignedOut => (
            "signed_out",
            "Signed out",
            "You were signed out everywhere while you signed in here.",
        ),
        LoginError::ChoiceNeeded | LoginError::UnknownProvider => (
            "unknown_provider",
            "Unknown identity provider",
            "There is no identity provider of that name here.",
        ),
    };
    let bad = StatusCode::BAD_REQUEST;
    answer(request, bad, title, status, text, return_to)
}

/// Loaded ahead or in a frame: nothing happens, and nobody will see this.
pub(crate) fn not_a_navigation(request: &Request) -> Response {
    answer(
        request,
        StatusCode::FORBIDDEN,
        "Not here",
        "not_a_navigation",
        "Sign-in starts only when a person opens this page.",
        "/",
    )
}

/// A fault of the authorization request that must not be told to an unknown
/// redirect URI.
pub(crate) fn shown(request: &Request, why: &'static str) -> Response {
    answer(
        request,
        StatusCode::BAD_REQUEST,
        "This cannot go on",
        "invalid_request",
        why,
        "/",
    )
}

/// HTML for people, JSON for programs.
fn answer(
    request: &Request,
    status: StatusCode,
    title: &str,
    code: &'static str,
    text: &'static str,
    return_to: &str,
) -> Response {
    if request.prefers_html() {
        let again = match return_to {
            "/" => "/auth/login".to_owned(),
            path => with_query("/auth/login", &[("return_to", path)]),
        };
        let body = format!(
            "<h1>{}</h1><p>{}</p><p class=\"ways\"><a class=\"button\" href=\"{}\">Sign in again</a> \
             <a href=\"/\">Go to the start page</a></p>",
            escape(title),
            escape(text),
            escape(&again)
        );
        html(status, title, &body)
    } else {
        let body = ErrorBody {
            error: code,
            error_description: text,
        };
        Response::json(status, &body)
    }
}

fn html(status: StatusCode, title: &str, body: &str) -> Response {
    Response::html(
        status,
        &Page {
            title,
            style: STYLE,
            refresh: None,
            body,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d97_a_name_on_the_confirmation_page_cannot_hide_or_turn_anything() {
        assert_eq!(name("Alice <b>"), "<bdi>Alice &lt;b&gt;</bdi>");
        assert_eq!(name("\u{202e}knaB\u{2066}\u{200b}"), "<bdi>knaB</bdi>");
    }
}
