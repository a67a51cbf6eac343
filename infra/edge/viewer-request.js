// What CloudFront does to a viewer's request before the API sees it: turns the
// browser session into `Authorization: Session cr_st_…` once the CSRF checks pass,
// lets nobody else write that scheme, drops what a viewer says about who it is, refuses
// what asks for another method, and renames the token for an HTTP API.
//
// CloudFront Functions, runtime cloudfront-js-2.0: no modules, no newer syntax. The
// template fills in the two settings (Fn::Sub). `vectors.json` holds this file and
// crates/local/src/apigateway/edge.rs to the same answers: change the vectors first.

const PUBLIC_ORIGIN = '${PublicOrigin}';
// `rest` or `http`.
const API = '${ApiKind}';

const SESSION_COOKIE = '__Host-Http-cloakroom';
const TOKEN_HEADER = 'x-cloakroom-token';
// For the rate rule: what X-Forwarded-For begins with, the viewer may have written.
const VIEWER_HEADER = 'x-cloakroom-viewer';
// Names under which services take an identity for vouched for (D39). Many servers
// read `_` and `-` as the same.
const CLAIMS_IDENTITY = /^(x[-_](amzn[-_]oidc|auth[-_]request|cloakroom|internal|user)[-_]|x[-_]forwarded[-_](email|groups|user)$|(x[-_])?remote[-_]user$)/;
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
        if (CLAIMS_IDENTITY.test(name)) {
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
