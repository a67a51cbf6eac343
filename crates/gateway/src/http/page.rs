//! Small pages for people, without script.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_domain::token::sha256;

/// A page.
#[derive(Clone, Copy, Debug, Default)]
pub struct Page<'a> {
    /// The title; text.
    pub title: &'a str,
    /// The style sheet, without `</`.
    pub style: &'a str,
    /// Where to go on at once, without script; text.
    pub refresh: Option<&'a str>,
    /// The content; HTML, so whatever comes from outside goes through [`escape`].
    pub body: &'a str,
}

impl Page<'_> {
    pub(super) fn to_html(self) -> String {
        let Self { style, body, .. } = self;
        let title = escape(self.title);
        let style = if style.is_empty() {
            String::new()
        } else {
            format!("<style>{style}</style>\n")
        };
        let refresh = self.refresh.map_or_else(String::new, |url| {
            format!(
                "<meta http-equiv=\"refresh\" content=\"0;url={}\">\n",
                escape(url)
            )
        });
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             {style}{refresh}</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
        )
    }

    /// Allows this very style sheet and nothing else. There is no `form-action`:
    /// browsers apply it to the redirect that follows a form, and the confirmation
    /// form's goes to the client.
    pub(super) fn content_security_policy(self) -> String {
        let style = if self.style.is_empty() {
            String::new()
        } else {
            format!(
                "style-src 'sha256-{}'; ",
                STANDARD.encode(sha256(self.style.as_bytes()))
            )
        };
        format!("default-src 'none'; {style}base-uri 'none'; frame-ancestors 'none'")
    }
}

/// Text as HTML, in elements and in quoted attributes.
pub fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let html = Page {
            title: "</title><script>",
            refresh: Some("/\"><script>'&"),
            ..Page::default()
        }
        .to_html();
        assert!(!html.contains("<script"));
        assert!(html.contains("content=\"0;url=/&quot;&gt;&lt;script&gt;&#39;&amp;\""));
    }

    #[test]
    fn the_policy_names_the_style_by_its_hash() {
        let page = Page {
            style: "p{}",
            ..Page::default()
        };
        assert!(page.to_html().contains("<style>p{}</style>"));
        // printf 'p{}' | openssl dgst -sha256 -binary | base64
        assert_eq!(
            page.content_security_policy(),
            "default-src 'none'; style-src 'sha256-gG2yISYereRMiG2lMXrbiUgi0Ubw9p7QCeWcroOvy9Y='; base-uri 'none'; frame-ancestors 'none'"
        );
        assert!(!Page::default().content_security_policy().contains("style"));
    }
}
