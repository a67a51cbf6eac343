//! ARNs of API methods.

use crate::arns::is_partition;
use std::borrow::Cow;

/// `arn:aws:execute-api:{region}:{account}:{api}/{stage}/{method}/{path}`
///
/// The path is whatever the client sent, live wildcards included, so nothing of it
/// ever goes into a policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MethodArn<'e> {
    text: Cow<'e, str>,
    /// Where in the text each part ends; the next begins one character later.
    account: usize,
    api: usize,
    stage: usize,
    method: usize,
}

impl<'e> MethodArn<'e> {
    /// AWS answers 414 beyond this.
    const MAX_LEN: usize = 1600;

    /// The longest resource that a policy may name (specs B-rest-6).
    const MAX_RESOURCE: usize = 512;

    /// Reads a `methodArn` or `routeArn`. Nothing is built from an ARN of another
    /// shape (D37).
    pub fn parse(text: impl Into<Cow<'e, str>>) -> Option<Self> {
        let text = text.into();
        let mut parts = text.splitn(6, ':');
        let mut part = || parts.next();
        let (arn, partition, service) = (part()?, part()?, part()?);
        let (region, account, resource) = (part()?, part()?, part()?);
        let mut segments = resource.splitn(4, '/');
        let mut segment = || segments.next();
        let (api, stage, method) = (segment()?, segment()?, segment()?);
        let well_formed = text.len() <= Self::MAX_LEN
            && arn == "arn"
            && is_partition(partition)
            && service == "execute-api"
            && is_of(region, b"-")
            && account.len() == 12
            && account.bytes().all(|b| b.is_ascii_digit())
            && is_of(api, b"")
            && is_of(stage, b"-_$")
            && is_of(method, b"$");
        let account = text.len() - resource.len() - 1;
        let api = account + 1 + api.len();
        let stage = api + 1 + stage.len();
        let method = stage + 1 + method.len();
        well_formed.then_some(Self {
            text,
            account,
            api,
            stage,
            method,
        })
    }

    /// The account that the API is in.
    pub fn account(&self) -> &str {
        self.part(0, self.account)
            .rsplit(':')
            .next()
            .unwrap_or_default()
    }

    /// `<api id>/<stage>`
    pub fn api_and_stage(&self) -> Cow<'e, str> {
        self.shared(self.account + 1, self.stage)
    }

    /// The API's id.
    pub fn api(&self) -> &str {
        self.part(self.account + 1, self.api)
    }

    /// The stage.
    pub fn stage(&self) -> &str {
        self.part(self.api + 1, self.stage)
    }

    /// The HTTP method.
    pub fn method(&self) -> Cow<'e, str> {
        self.shared(self.stage + 1, self.method)
    }

    /// The path as the client sent it.
    pub fn path(&self) -> Cow<'e, str> {
        let end = self.text.len();
        if self.method == end {
            return Cow::Borrowed("/");
        }
        self.shared(self.method, end)
    }

    /// The partition.
    pub fn partition(&self) -> &str {
        self.text.split(':').nth(1).unwrap_or_default()
    }

    /// Whether a policy can name this method and path alone.
    pub fn is_nameable(&self) -> bool {
        self.text.len() < Self::MAX_RESOURCE
    }

    /// Every method of the stage.
    pub fn whole_stage(&self) -> String {
        [self.part(0, self.stage), "/*"].concat()
    }

    /// This method and path alone, if nothing in them can mean more than itself: the
    /// path is the client's, and `*` in it would be a live wildcard.
    pub fn alone(&self) -> Option<String> {
        self.of(&self.method(), self.whole_path())
    }

    /// A method and a path of the same stage; see [`MethodArn::alone`].
    pub fn of(&self, method: &str, path: &str) -> Option<String> {
        let is_plain = path
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/-._~%!&'()+,=:@".contains(&b));
        self.covering(method, path).filter(|_| is_plain)
    }

    /// As [`MethodArn::of`], but wildcards in the path are meant.
    pub fn covering(&self, method: &str, path: &str) -> Option<String> {
        let text = [self.part(0, self.stage), "/", method, path].concat();
        (text.len() <= Self::MAX_RESOURCE).then_some(text)
    }

    /// The path, never empty.
    pub fn whole_path(&self) -> &str {
        match self.part(self.method, self.text.len()) {
            "" => "/",
            path => path,
        }
    }

    fn part(&self, start: usize, end: usize) -> &str {
        self.text.get(start..end).unwrap_or_default()
    }

    /// A part that outlives the ARN.
    fn shared(&self, start: usize, end: usize) -> Cow<'e, str> {
        match &self.text {
            Cow::Borrowed(text) => Cow::Borrowed(text.get(start..end).unwrap_or_default()),
            Cow::Owned(_) => Cow::Owned(self.part(start, end).to_owned()),
        }
    }
}

fn is_of(text: &str, more: &[u8]) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "arn:aws:execute-api:eu-west-1:111122223333:abc123/prod/GET/api/orders";

    #[test]
    fn an_arn_is_taken_apart() {
        let arn = MethodArn::parse(GOOD).unwrap();
        assert_eq!(arn.account(), "111122223333");
        assert_eq!(arn.api_and_stage(), "abc123/prod");
        assert_eq!((&*arn.method(), &*arn.path()), ("GET", "/api/orders"));
        assert_eq!((arn.api(), arn.stage()), ("abc123", "prod"));
        let owned = MethodArn::parse(GOOD.to_owned()).unwrap();
        assert_eq!(owned, arn);
        assert_eq!(owned.path(), arn.path());
        assert_eq!(
            arn.whole_stage(),
            "arn:aws:execute-api:eu-west-1:111122223333:abc123/prod/*"
        );
    }

    #[test]
    fn a_path_is_never_empty_and_a_query_is_no_part_that_a_policy_can_name() {
        let path = |rest: &str| {
            let text = format!("arn:aws:execute-api:eu-west-1:111122223333:abc123/prod/GET{rest}");
            let arn = MethodArn::parse(text).unwrap();
            (arn.path().into_owned(), arn.alone())
        };
        let alone = |path: &str| {
            Some(format!(
                "arn:aws:execute-api:eu-west-1:111122223333:abc123/prod/GET{path}"
            ))
        };
        assert_eq!(path(""), ("/".to_owned(), alone("/")));
        assert_eq!(path("/"), ("/".to_owned(), alone("/")));
        assert_eq!(path("/a/b"), ("/a/b".to_owned(), alone("/a/b")));
        assert_eq!(path("/a?b=/c"), ("/a?b=/c".to_owned(), None));
    }

    #[test]
    fn nothing_of_the_path_gets_into_a_policy() {
        for path in ["*", "api/*", "?*", "%2A", "a:b/../*", "${aws:x}"] {
            let text = format!("arn:aws:execute-api:eu-west-1:111122223333:abc123/prod/GET/{path}");
            assert_eq!(
                MethodArn::parse(text).unwrap().whole_stage(),
                "arn:aws:execute-api:eu-west-1:111122223333:abc123/prod/*",
                "D34"
            );
        }
    }

    #[test]
    fn a_path_stands_for_itself_only_if_nothing_in_it_is_a_wildcard() {
        let alone = |path: &str| {
            let text = format!("arn:aws:execute-api:eu-west-1:111122223333:abc123/prod/GET/{path}");
            MethodArn::parse(text).unwrap().alone()
        };
        assert_eq!(alone("api/orders").as_deref(), Some(GOOD));
        for path in ["api/*", "api/o?ders", "${aws:x}", "{id}", "\"", "\u{e9}"] {
            assert_eq!(alone(path), None, "D34: {path}");
        }
        assert!(alone(&"a".repeat(400)).is_some());
        assert_eq!(alone(&"a".repeat(500)), None);
    }

    #[test]
    fn a_dollar_sign_names_a_stage_or_a_route_and_no_path() {
        let at = "arn:aws:execute-api:eu-west-1:111122223333:abc123";
        let arn = MethodArn::parse(format!("{at}/$default/$connect")).unwrap();
        assert_eq!((arn.stage(), &*arn.method()), ("$default", "$connect"));
        assert_eq!(arn.path(), "/");
        // `${…}` is a variable in a policy.
        for path in ["a$b", "$", "$connect", "$default/a", "a/$"] {
            let arn = MethodArn::parse(format!("{at}/prod/GET/{path}")).unwrap();
            assert_eq!(arn.alone(), None, "{path}");
            assert_eq!(arn.of("GET", &format!("/{path}")), None, "{path}");
        }
        for text in [
            "arn:aws:execute-api:eu-west-1:111122223333:abc$123/prod/GET/",
            "arn:aws:execute-api:eu-$west-1:111122223333:abc123/prod/GET/",
            "arn:aws:execute-api:eu-west-1:11112222333$:abc123/prod/GET/",
        ] {
            assert_eq!(MethodArn::parse(text), None, "{text}");
        }
    }

    #[test]
    fn d37_an_arn_of_another_shape_is_refused() {
        for text in [
            "",
            "arn:aws:execute-api:eu-west-1:111122223333",
            "arn:aws:execute-api:eu-west-1:111122223333:abc123/prod",
            "arn:aws-:execute-api:eu-west-1:111122223333:abc123/prod/GET/",
            "arn:awsx:execute-api:eu-west-1:111122223333:abc123/prod/GET/",
            "arn:AWS:execute-api:eu-west-1:111122223333:abc123/prod/GET/",
            "arn:aws:lambda:eu-west-1:111122223333:abc123/prod/GET/",
            "arn:aws:execute-api:*:111122223333:abc123/prod/GET/",
            "arn:aws:execute-api:eu-west-1:*:abc123/prod/GET/",
            "arn:aws:execute-api:eu-west-1:11112222333:abc123/prod/GET/",
            "arn:aws:execute-api:eu-west-1:111122223333:*/prod/GET/",
            "arn:aws:execute-api:eu-west-1:111122223333:abc123/*/GET/",
            "arn:aws:execute-api:eu-west-1:111122223333:abc123/pr*d/GET/",
            "arn:aws:execute-api:eu-west-1:111122223333:abc123//GET/",
        ] {
            assert_eq!(MethodArn::parse(text), None, "{text}");
        }
        assert_eq!(
            MethodArn::parse(format!("{GOOD}{}", "a".repeat(1600))),
            None
        );
    }
}
