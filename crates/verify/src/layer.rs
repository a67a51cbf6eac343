//! Tower layers: [`VerifyLayer`] turns the JWT into [`Claims`], [`RequireLayer`]
//! asks more of them for some routes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tower::{Layer, Service};

use crate::claims::Claims;
use crate::error::VerifyError;
use crate::verifier::Verifier;

/// What a route asks of a caller beyond a good token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Requirement {
    /// The user has this role.
    Role(String),
    /// This scope was granted.
    Scope(String),
}

impl Requirement {
    fn check(&self, claims: &Claims) -> Result<(), VerifyError> {
        match self {
            Self::Role(role) => claims.require_role(role),
            Self::Scope(scope) => claims.require_scope(scope),
        }
    }
}

/// Lets only requests with a good token pass, and puts [`Claims`] into their extensions.
///
/// Others are answered with 401, 403 or 503 and a JSON body.
#[derive(Clone, Debug)]
pub struct VerifyLayer {
    guard: Arc<Guard>,
}

#[derive(Clone, Debug)]
struct Guard {
    verifier: Verifier,
    header: HeaderName,
    requirements: Vec<Requirement>,
}

impl VerifyLayer {
    /// Reads the token from `Authorization: Bearer …`.
    pub fn new(verifier: Verifier) -> Self {
        let guard = Guard {
            verifier,
            header: AUTHORIZATION,
            requirements: Vec::new(),
        };
        Self {
            guard: Arc::new(guard),
        }
    }

    /// Reads the bare token from another header (an HTTP API's `x-cloakroom-jwt`).
    ///
    /// Only where the gateway overwrites that header on every route.
    #[must_use]
    pub fn header(mut self, name: HeaderName) -> Self {
        Arc::make_mut(&mut self.guard).header = name;
        self
    }

    /// Asks for a role on every route beneath.
    #[must_use]
    pub fn require_role(self, role: impl Into<String>) -> Self {
        self.require(Requirement::Role(role.into()))
    }

    /// Asks for a scope on every route beneath.
    #[must_use]
    pub fn require_scope(self, scope: impl Into<String>) -> Self {
        self.require(Requirement::Scope(scope.into()))
    }

    fn require(mut self, requirement: Requirement) -> Self {
        Arc::make_mut(&mut self.guard)
            .requirements
            .push(requirement);
        self
    }
}

impl<S> Layer<S> for VerifyLayer {
    type Service = VerifyService<S>;

    fn layer(&self, inner: S) -> VerifyService<S> {
        VerifyService {
            inner,
            guard: Arc::clone(&self.guard),
        }
    }
}

/// The service of [`VerifyLayer`].
#[derive(Clone, Debug)]
pub struct VerifyService<S> {
    inner: S,
    guard: Arc<Guard>,
}

impl<S, B, R> Service<Request<B>> for VerifyService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Answer<R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The instance that said it was ready is the one to call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let guard = Arc::clone(&self.guard);
        Box::pin(async move {
            match guard.admit(request.headers()).await {
                Ok(claims) => {
                    request.extensions_mut().insert(claims);
                    inner.call(request).await
                }
                Err(error) => Ok(refusal(&error)),
            }
        })
    }
}

type Answer<R, E> = Pin<Box<dyn Future<Output = Result<Response<R>, E>> + Send>>;

impl Guard {
    fn admit(
        &self,
        headers: &HeaderMap,
    ) -> impl Future<Output = Result<Claims, VerifyError>> + Send + use<'_> {
        // Two values: whoever reads the first and whoever reads the last differ.
        let mut values = headers.get_all(&self.header).iter();
        let value = match (values.next(), values.next()) {
            (Some(one), None) => one
                .to_str()
                .map(ToOwned::to_owned)
                .map_err(|_| VerifyError::MalformedCredentials),
            (None, _) => Err(VerifyError::Missing),
            (Some(_), Some(_)) => Err(VerifyError::MalformedCredentials),
        };
        async move {
            let value = value?;
            let claims = if self.header == AUTHORIZATION {
                self.verifier.verify_authorization_header(&value).await?
            } else {
                self.verifier.verify(&value).await?
            };
            self.requirements
                .iter()
                .try_for_each(|each| each.check(&claims))?;
            Ok(claims)
        }
    }
}

/// Asks more of requests that a [`VerifyLayer`] further out has let pass.
///
/// Without one every request is refused.
#[derive(Clone, Debug)]
pub struct RequireLayer {
    requirement: Requirement,
}

impl RequireLayer {
    /// Asks for a role.
    pub fn role(role: impl Into<String>) -> Self {
        Self {
            requirement: Requirement::Role(role.into()),
        }
    }

    /// Asks for a scope.
    pub fn scope(scope: impl Into<String>) -> Self {
        Self {
            requirement: Requirement::Scope(scope.into()),
        }
    }
}

impl<S> Layer<S> for RequireLayer {
    type Service = RequireService<S>;

    fn layer(&self, inner: S) -> RequireService<S> {
        RequireService {
            inner,
            requirement: self.requirement.clone(),
        }
    }
}

/// The service of [`RequireLayer`].
#[derive(Clone, Debug)]
pub struct RequireService<S> {
    inner: S,
    requirement: Requirement,
}

impl<S, B, R> Service<Request<B>> for RequireService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: From<String> + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Answer<R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let claims = request
            .extensions()
            .get::<Claims>()
            .ok_or(VerifyError::Missing);
        match claims.and_then(|claims| self.requirement.check(claims)) {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(error) => Box::pin(std::future::ready(Ok(refusal(&error)))),
        }
    }
}

/// The answer says which of the three it is, and nothing about the token.
fn refusal<R: From<String>>(error: &VerifyError) -> Response<R> {
    let code = error.code().unwrap_or("unauthorized");
    let mut response = Response::new(R::from(format!(r#"{{"error":"{code}"}}"#)));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(challenge) = error.www_authenticate() {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

#[cfg(test)]
mod tests;
