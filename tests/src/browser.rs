//! A small browser: cookies with their SameSite rules, redirects, meta refresh, and
//! plain HTML forms. No script, so every hop of a sign-in must do without.

use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, Method, StatusCode, Url, redirect};
use serde_json::Value;
use std::collections::BTreeMap;

/// A browser with its cookies.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    cookies: BTreeMap<(String, String), Cookie>,
}

#[derive(Clone, Debug)]
struct Cookie {
    value: String,
    strict: bool,
}

/// What a navigation ended with.
#[derive(Debug)]
pub struct Page {
    /// Where.
    pub url: Url,
    /// How.
    pub status: StatusCode,
    /// With which headers.
    pub headers: HeaderMap,
    /// The text.
    pub body: String,
    /// Every URL on the way, this one included.
    pub hops: Vec<Url>,
}

impl Default for Browser {
    fn default() -> Self {
        Self {
            client: client(),
            cookies: BTreeMap::new(),
        }
    }
}

/// An HTTP client that follows nothing by itself.
pub fn client() -> Client {
    Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

impl Browser {
    /// Types a URL into the address bar.
    pub async fn open(&mut self, url: &str) -> Page {
        let url = Url::parse(url).unwrap();
        self.navigate(Method::GET, url, None, false).await
    }

    /// Follows a link on another site's page.
    pub async fn follow_link(&mut self, url: &str) -> Page {
        let url = Url::parse(url).unwrap();
        self.navigate(Method::GET, url, None, true).await
    }

    /// Fills the page's form and sends it; the answer is not followed.
    pub async fn submit_once(
        &mut self,
        page: &Page,
        fields: &[(&str, &str)],
    ) -> (StatusCode, HeaderMap, String) {
        let form = page.form().expect("the page has a form");
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form.hidden.into_iter().chain(fields))
            .finish();
        let url = page.url.join(&form.action).unwrap();
        let cross_site = url.host_str() != page.url.host_str();
        self.step(form.method, &url, Some(body), cross_site).await
    }

    /// Fills the page's form and sends it.
    pub async fn submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Page {
        let form = page.form().expect("the page has a form");
        let mut pairs = form.hidden;
        for (name, value) in fields {
            pairs.push(((*name).to_owned(), (*value).to_owned()));
        }
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&pairs)
            .finish();
        let url = page.url.join(&form.action).unwrap();
        let cross_site = url.host_str() != page.url.host_str();
        self.navigate(form.method, url, Some(body), cross_site)
            .await
    }

    /// Calls our own API from a script of our own page, with the CSRF header.
    pub async fn fetch(&mut self, method: Method, url: &str) -> (StatusCode, HeaderMap, Value) {
        self.fetch_with(method, url, &[("x-csrf", "1")]).await
    }

    /// The same with other headers.
    pub async fn fetch_with(
        &mut self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
    ) -> (StatusCode, HeaderMap, Value) {
        let url = Url::parse(url).unwrap();
        let mut request = self.client.request(method, url.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(cookies) = self.cookie_header(&url, true) {
            request = request.header(COOKIE, cookies);
        }
        let answer = request.send().await.unwrap();
        self.keep(&url, answer.headers());
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (status, headers, body)
    }

    /// Signs in at the demo provider, from the start page, as `user`.
    pub async fn sign_in(&mut self, base: &str, user: &str) -> Page {
        let form = self.open(&format!("{base}/auth/login?return_to=/")).await;
        self.submit(&form, &[("username", user), ("password", user)])
            .await
    }

    /// A cookie of `localhost`.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies
            .get(&("localhost".to_owned(), name.to_owned()))
            .map(|cookie| cookie.value.clone())
    }

    /// All cookies of `localhost`, name and value.
    pub fn cookies(&self) -> Vec<(String, String)> {
        self.cookies
            .iter()
            .filter(|((host, _), _)| host == "localhost")
            .map(|((_, name), cookie)| (name.clone(), cookie.value.clone()))
            .collect()
    }

    /// Plants a cookie for `localhost`.
    pub fn plant(&mut self, name: &str, value: &str) {
        let cookie = Cookie {
            value: value.to_owned(),
            strict: true,
        };
        self.cookies
            .insert(("localhost".to_owned(), name.to_owned()), cookie);
    }

    /// Plants a cookie that other sites' redirects carry along.
    pub fn plant_lax(&mut self, name: &str, value: &str) {
        let cookie = Cookie {
            value: value.to_owned(),
            strict: false,
        };
        self.cookies
            .insert(("localhost".to_owned(), name.to_owned()), cookie);
    }

    /// One request of a navigation, redirects not followed.
    pub async fn step(
        &mut self,
        method: Method,
        url: &Url,
        body: Option<String>,
        cross_site: bool,
    ) -> (StatusCode, HeaderMap, String) {
        let mut request = self
            .client
            .request(method, url.clone())
            .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header(
                "sec-fetch-site",
                if cross_site {
                    "cross-site"
                } else {
                    "same-origin"
                },
            );
        if let Some(cookies) = self.cookie_header(url, !cross_site) {
            request = request.header(COOKIE, cookies);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/x-www-form-urlencoded")
                .header("origin", url.origin().ascii_serialization())
                .body(body);
        }
        let answer = request.send().await.unwrap();
        self.keep(url, answer.headers());
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, answer.text().await.unwrap())
    }

    async fn navigate(
        &mut self,
        mut method: Method,
        mut url: Url,
        mut body: Option<String>,
        mut cross_site: bool,
    ) -> Page {
        let mut hops = Vec::new();
        loop {
            hops.push(url.clone());
            assert!(hops.len() < 12, "too many hops: {hops:?}");
            let (status, headers, text) = self.step(method, &url, body.take(), cross_site).await;
            let next = if status.is_redirection() {
                let location = headers[LOCATION].to_str().unwrap();
                let next = url.join(location).unwrap();
                // Once another site is in the chain, the whole of it is cross-site.
                cross_site |= next.host_str() != url.host_str();
                // Nobody listens where a native client would.
                (next.path() != "/callback").then_some(next)
            } else {
                let next = meta_refresh(&text).map(|to| url.join(&to).unwrap());
                cross_site = next
                    .as_ref()
                    .is_some_and(|next| next.host_str() != url.host_str());
                next
            };
            match next {
                Some(next) => (method, url) = (Method::GET, next),
                None => {
                    return Page {
                        url,
                        status,
                        headers,
                        body: text,
                        hops,
                    };
                }
            }
        }
    }

    fn cookie_header(&self, url: &Url, same_site: bool) -> Option<String> {
        let host = url.host_str()?;
        let pairs: Vec<_> = self
            .cookies
            .iter()
            .filter(|((of, _), cookie)| of == host && (same_site || !cookie.strict))
            .map(|((_, name), cookie)| format!("{name}={}", cookie.value))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// Keeps what the rules of `__Host-` and `__Host-Http-` admit, drops the rest.
    fn keep(&mut self, url: &Url, headers: &HeaderMap) {
        for line in headers.get_all(SET_COOKIE) {
            let mut parts = line.to_str().unwrap().split(';').map(str::trim);
            let (name, value) = parts.next().unwrap().split_once('=').unwrap();
            let attributes: Vec<_> = parts.map(str::to_ascii_lowercase).collect();
            let has = |attribute: &str| attributes.iter().any(|each| each == attribute);
            if name.starts_with("__Host-") {
                assert!(has("secure") && has("path=/"), "{name}");
                assert!(
                    !attributes.iter().any(|each| each.starts_with("domain")),
                    "{name}"
                );
            }
            if name.starts_with("__Host-Http-") {
                assert!(has("httponly"), "{name}");
            }
            let key = (url.host_str().unwrap().to_owned(), name.to_owned());
            if has("max-age=0") {
                self.cookies.remove(&key);
            } else {
                let strict = has("samesite=strict");
                let value = value.to_owned();
                self.cookies.insert(key, Cookie { value, strict });
            }
        }
    }
}

/// A form of a page.
struct Form {
    action: String,
    method: Method,
    hidden: Vec<(String, String)>,
}

impl Page {
    /// Whether the page has a form.
    pub fn has_form(&self) -> bool {
        self.body.contains("<form")
    }

    /// The hidden fields of the page's form.
    pub fn hidden(&self) -> Vec<(String, String)> {
        self.form().map(|form| form.hidden).unwrap_or_default()
    }

    /// The redirect that the navigation ended with, because nobody listens there.
    pub fn redirect(&self) -> Option<Url> {
        let location = self.headers.get(LOCATION)?.to_str().ok()?;
        self.url.join(location).ok()
    }

    fn form(&self) -> Option<Form> {
        let (_, rest) = self.body.split_once("<form")?;
        let (tag, rest) = rest.split_once('>')?;
        let (inside, _) = rest.split_once("</form>")?;
        let hidden = inside
            .split("<input")
            .skip(1)
            .filter_map(|input| input.split_once('>').map(|(tag, _)| tag))
            .filter(|tag| attribute(tag, "type").as_deref() == Some("hidden"))
            .filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?)))
            .collect();
        Some(Form {
            action: attribute(tag, "action").unwrap_or_default(),
            method: match attribute(tag, "method") {
                Some(method) if method.eq_ignore_ascii_case("post") => Method::POST,
                _ => Method::GET,
            },
            hidden,
        })
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(unescape(value))
}

fn meta_refresh(html: &str) -> Option<String> {
    let (_, rest) = html.split_once("http-equiv=\"refresh\"")?;
    let (tag, _) = rest.split_once('>')?;
    let content = attribute(tag, "content")?;
    let (_, url) = content.split_once("url=")?;
    Some(url.to_owned())
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&#x27;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}
