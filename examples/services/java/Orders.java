///usr/bin/env jbang "$0" "$@" ; exit $?
//JAVA 17+
//DEPS com.nimbusds:nimbus-jose-jwt:10.10

// The orders service, in Java with Nimbus JOSE + JWT. jbang Orders.java
//
// The gateway has judged scope and role already. This service judges again: a request may come
// past the gateway, and a signature is worth more than a network.

import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.KeySourceException;
import com.nimbusds.jose.jwk.JWKMatcher;
import com.nimbusds.jose.jwk.JWKSelector;
import com.nimbusds.jose.jwk.KeyType;
import com.nimbusds.jose.jwk.KeyUse;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.BadJOSEException;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.text.ParseException;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Executors;
import java.util.regex.Pattern;

public class Orders {
    private static final Pattern BEARER = Pattern.compile("(?i:Bearer) ([A-Za-z0-9_.-]+)");

    private static final JWKSelector SIGNING_KEYS = new JWKSelector(new JWKMatcher.Builder()
        .keyType(KeyType.RSA).keyUses(KeyUse.SIGNATURE, null).build());

    private final DefaultJWTProcessor<SecurityContext> processor = new DefaultJWTProcessor<>();
    private final JWKSource<SecurityContext> keys;
    private final String audience;

    Orders(String issuer, String audience, String jwksUrl) throws IOException {
        this.audience = audience;
        // Caches, coalesces, and limits how often an unknown kid makes it fetch.
        keys = JWKSourceBuilder.<SecurityContext>create(URI.create(jwksUrl).toURL()).build();
        // No other kind of JWT passes for an access token (RFC 9068 §4).
        processor.setJWSTypeVerifier(new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType("at+jwt")));
        // What Cloakroom is configured to sign with.
        processor.setJWSKeySelector(new JWSVerificationKeySelector<>(JWSAlgorithm.RS256, keys));
        // Clock skew: 60 seconds, which is also Nimbus' default.
        processor.setJWTClaimsSetVerifier(new DefaultJWTClaimsVerifier<>(
            audience,
            new JWTClaimsSet.Builder().issuer(issuer).build(),
            Set.of("sub", "client_id", "exp", "nbf", "iat", "jti")));
    }

    /** The verified claims, or null if the token is no good. */
    JWTClaimsSet claimsOf(String authorization) throws KeySourceException {
        var match = BEARER.matcher(authorization == null ? "" : authorization);
        if (!match.matches()) {
            return null;
        }
        try {
            var claims = processor.process(match.group(1), null);
            // One audience: a token for several services could be replayed by one at another.
            return claims.getAudience().equals(List.of(audience)) ? claims : null;
        } catch (KeySourceException unavailable) {
            throw unavailable;
        } catch (BadJOSEException | JOSEException | ParseException refused) {
            // That a set without a key that signs has none for it is no fault of the token's.
            if (keys.get(SIGNING_KEYS, null).isEmpty()) {
                throw new KeySourceException("no keys");
            }
            return null;
        }
    }

    void handle(HttpExchange exchange) throws IOException {
        JWTClaimsSet claims;
        try {
            claims = claimsOf(exchange.getRequestHeaders().getFirst("Authorization"));
        } catch (KeySourceException unavailable) {
            // No key, no verdict: that is our trouble and not the caller's.
            answer(exchange, 503, "{\"error\":\"temporarily_unavailable\"}");
            return;
        }
        if (claims == null) {
            exchange.getResponseHeaders().set("WWW-Authenticate", "Bearer error=\"invalid_token\"");
            answer(exchange, 401, "{\"error\":\"invalid_token\"}");
            return;
        }
        switch (exchange.getRequestURI().getPath()) {
            case "/api/orders" -> answer(exchange, hasScope(claims, "orders:read"), "{\"orders\":[\"1001\",\"1002\"]}");
            case "/api/reports" -> answer(exchange, hasRole(claims, "admin"), "{\"revenue\":213.5}");
            default -> answer(exchange, 404, "{\"error\":\"not_found\"}");
        }
    }

    private static boolean hasScope(JWTClaimsSet claims, String scope) {
        return claims.getClaim("scope") instanceof String all && List.of(all.split(" ")).contains(scope);
    }

    private static boolean hasRole(JWTClaimsSet claims, String role) {
        return claims.getClaim("roles") instanceof List<?> roles && roles.contains(role);
    }

    private static void answer(HttpExchange exchange, boolean allowed, String body) throws IOException {
        answer(exchange, allowed ? 200 : 403, allowed ? body : "{\"error\":\"insufficient_scope\"}");
    }

    private static void answer(HttpExchange exchange, int status, String body) throws IOException {
        var bytes = body.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.getResponseHeaders().set("Cache-Control", "no-store");
        exchange.sendResponseHeaders(status, bytes.length);
        try (var out = exchange.getResponseBody()) {
            out.write(bytes);
        }
    }

    /** A variable that must be there: without an issuer or audience any would do. */
    private static String setting(String name) {
        var value = System.getenv(name);
        if (value == null || value.isEmpty()) {
            throw new IllegalStateException(name + " is not set");
        }
        return value;
    }

    public static void main(String[] args) throws IOException {
        var orders = new Orders(setting("ISSUER"), setting("AUDIENCE"), setting("JWKS_URL"));
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(setting("PORT"))), 0);
        server.createContext("/", orders::handle);
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
    }
}
