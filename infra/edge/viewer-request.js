// What CloudFront does to a viewer's request before the API sees it: turns the
// browser session into `Authorization: Session cr_st_…` once the CSRF checks pass,
// lets nobody else write that scheme, forwards the headers of a list and no others, refuses
// what asks for another method, and renames the token for an HTTP API.
//
// CloudFront Functions, runtime cloudfront-js-2.0: no modules, no newer syntax. The
// template fills in the settings (Fn::Sub). `vectors.json` holds this file and
// crates/local/src/apigateway/edge.rs to the same answers: change the vectors first.

const PUBLIC_ORIGIN = '${PublicOrigin}';
// `rest` or `http`.
const API = '${ApiKind}';
// `edge_allow_headers` of the configuration, with spaces between.
const ALSO_ALLOWED = '${AllowHeaders}'.split(' ');

const SESSION_COOKIE = '__Host-Http-cloakroom';
const TOKEN_HEADER = 'x-cloakroom-token';
// For the rate rule: what X-Forwarded-For begins with, the viewer may have written.
const VIEWER_HEADER = 'x-cloakroom-viewer';
// The request headers that pass, exactly so: many servers read `_` and `-` as the same. What
// is not here cannot tell a service who the client is, what it asked for or where it came
// from (D39, D102). CloudFront adds X-Forwarded-For and its like anew. `content-length`,
// `host`, `transfer-encoding` and `via` are read-only here: a function that drops one fails.
const ALLOWED = (
    'accept accept-charset accept-encoding accept-language access-control-request-headers '
    + 'access-control-request-method authorization b3 baggage cache-control content-digest '
    + 'content-disposition content-encoding content-language content-length content-md5 '
    + 'content-range content-type correlation-id date device-memory digest dnt downlink dpop dpr '
    + 'ect grpc-accept-encoding grpc-encoding grpc-timeout host idempotency-key if-match '
    + 'if-modified-since if-none-match if-range if-unmodified-since last-event-id '
    + 'mcp-protocol-version mcp-session-id origin pragma prefer priority range referer '
    + 'repr-digest rtt save-data sentry-trace service-worker signature signature-input te '
    + 'traceparent tracestate transfer-encoding uber-trace-id upgrade-insecure-requests '
    + 'user-agent via viewport-width want-content-digest want-digest want-repr-digest width '
    + 'x-amzn-trace-id x-cloud-trace-context x-correlation-id x-csrf x-csrf-token x-grpc-web '
    + 'x-request-id x-requested-with x-user-agent x-xsrf-token '
    + 'apollo-require-preflight apollographql-* connect-* sec-* tus-* upload-* x-apollo-* '
    + 'x-b3-* x-datadog-*'
).split(' ').concat(ALSO_ALLOWED);
// Names by which a framework behind us takes a request for one of another method, which
// the policy has not judged (D25). The authorizer refuses them too, when it is asked: a
// kept answer does not go by them.
const OVERRIDES_METHOD = /^x[-_](http[-_]method|(http[-_])?method[-_]override)$/;
const SESSION_TOKEN = /^cr_st_[A-Za-z0-9_-]{64}[0-9A-Za-z]{6}$/;
// A session handle is no bearer token either, nor one that is bound to a key (D30).
const IMPERSONATES_THE_EDGE = /^[ \t]*(session([ \t]|$)|(bearer|dpop)[ \t]+cr_st_)/i;

function handler(event) {
    const request = event.request;
    const headers = request.headers;
    const isApi = request.uri === '/api' || request.uri.indexOf('/api/') === 0;

    // On any path: what is `/api` may be spelled in more ways than one.
    if (valuesOf(headers, 'authorization').some(impersonatesTheEdge)) {
        return refusal(401);
    }
    if (Object.keys(headers).some(overridesMethod)) {
        return refusal(403);
    }
    if (isApi) {
        const status = admit(request);
        if (status !== 0) {
            return refusal(status);
        }
    }
    Object.keys(headers).forEach(function (name) {
        if (!isAllowed(name)) {
            delete headers[name];
        }
    });
    headers[VIEWER_HEADER] = { value: event.viewer.ip };
    if (isApi && API === 'http' && headers.authorization) {
        headers[TOKEN_HEADER] = headers.authorization;
        delete headers.authorization;
    }
    return request;
}

// One credential, of one kind, from our own pages if it is a cookie. Answers the
// status of the refusal, or 0.
function admit(request) {
    const headers = request.headers;
    const authorizations = valuesOf(headers, 'authorization');
    // Exactly this spelling (D17).
    const sessions = valuesOf(request.cookies, SESSION_COOKIE);
    // Two of a kind or one of each: never prefer one silently (D16, D19, D27).
    if (authorizations.length + sessions.length > 1) {
        return 401;
    }
    if (sessions.length === 1) {
        if (!isFromOurOwnPages(headers)) {
            return 403;
        }
        if (!SESSION_TOKEN.test(sessions[0])) {
            return 401;
        }
        headers.authorization = { value: 'Session ' + sessions[0] };
    }
    request.cookies = {};
    return 0;
}

// The CSRF checks (D20). X-CSRF is what a foreign page cannot send without asking; the
// other two are judged when present, their absence is no fault.
function isFromOurOwnPages(headers) {
    const csrf = valuesOf(headers, 'x-csrf');
    const origins = valuesOf(headers, 'origin');
    const sites = valuesOf(headers, 'sec-fetch-site');
    if (csrf.length !== 1 || csrf[0] !== '1') {
        return false;
    }
    if (origins.length > 1 || (origins.length === 1 && origins[0] !== PUBLIC_ORIGIN)) {
        return false;
    }
    return sites.length === 0
        || (sites.length === 1 && (sites[0] === 'same-origin' || sites[0] === 'none'));
}

function impersonatesTheEdge(authorization) {
    return IMPERSONATES_THE_EDGE.test(authorization);
}

// A name of the list, or one that begins as an entry with `*` at its end does.
function isAllowed(name) {
    return name.indexOf('_') < 0 && ALLOWED.some(function (entry) {
        return entry === name
            || (entry.slice(-1) === '*' && name.indexOf(entry.slice(0, -1)) === 0);
    });
}

function overridesMethod(name) {
    return OVERRIDES_METHOD.test(name);
}

// All values of a header or a cookie, as CloudFront hands them over.
function valuesOf(map, name) {
    const entry = map[name];
    if (!entry) {
        return [];
    }
    if (!entry.multiValue) {
        return [entry.value];
    }
    return entry.multiValue.map(function (one) { return one.value; });
}

// Never says which check failed.
function refusal(status) {
    const headers = {
        'cache-control': { value: 'no-store' },
        'content-type': { value: 'application/json' },
    };
    if (status === 401) {
        headers['www-authenticate'] = { value: 'Bearer realm="cloakroom"' };
    }
    const description = status === 401 ? 'Unauthorized' : 'Forbidden';
    return {
        statusCode: status,
        statusDescription: description,
        headers: headers,
        body: { encoding: 'text', data: '{"message":"' + description + '"}' },
    };
}
