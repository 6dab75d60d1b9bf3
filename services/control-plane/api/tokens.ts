/** Bearer tokens of an OpenID Connect provider: who brings one, by the provider's own signature. */
import { createRemoteJWKSet, errors, jwtVerify, type JWTVerifyGetKey } from 'jose';
import type { Claims } from '../store/access.ts';
import { ApiError } from './errors.ts';

export interface Oidc {
  /** As in its tokens' `iss`; what it says of itself is below it, at `/.well-known/openid-configuration`. */
  readonly issuer: string;
  /** What a token's `aud` must name. */
  readonly audience: string;
  /** Between two looks for a key that is not known yet @default 30 */
  readonly cooldownSeconds?: number;
}

/** Signed with a key that only the provider has: with a shared secret, whoever checks a token could make one. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];
const TOLERANCE_SECONDS = 10;
const TIMEOUT_MS = 5000;
const RETRY_SECONDS = 5;

/**
 * Reads tokens of one provider. Its keys are kept for ten minutes, and looked for anew when a token names another.
 * @returns the claims of a token; throws ApiError 401 when it is not good, 503 when the provider does not say
 */
export function tokenReader({ issuer, audience, cooldownSeconds = 30 }: Oidc): (token: string) => Promise<Claims> {
  let keys: Promise<Keys> | undefined;
  const keyOf: JWTVerifyGetKey = async (header, token) => {
    keys ??= keysOf(issuer, cooldownSeconds);
    return (await keys)(header, token);
  };
  return async (token) => {
    try {
      const { payload } = await jwtVerify(token, keyOf, {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        clockTolerance: TOLERANCE_SECONDS,
        requiredClaims: ['sub', 'exp'],
      });
      const { sub, email, email_verified: verified, groups } = payload;
      if (typeof sub !== 'string' || sub === '')
        throw new errors.JWTClaimValidationFailed('it is not a string', payload, 'sub', 'check_failed');
      return {
        sub,
        // Else anybody could say that he is somebody else.
        email: typeof email === 'string' && verified === true ? email.toLowerCase() : null,
        groups: [groups].flat().filter((group) => typeof group === 'string'),
      };
    } catch (error) {
      const why = whatIsWrong(error);
      if (why !== undefined) throw new ApiError(401, `Invalid bearer token: ${why}`);
      // Keys that are still fresh stay: a token that names another one must not take them away from those that do not.
      const fresh = await keys?.then((had) => had.fresh).catch(() => false);
      if (!fresh) keys = undefined;
      throw new ApiError(503, `The OIDC provider ${issuer} cannot be asked about this token. Try again later.`, {
        cause: error,
        retryAfter: RETRY_SECONDS,
      });
    }
  };
}

type Keys = ReturnType<typeof createRemoteJWKSet>;

/** OpenID Connect Discovery 1.0, section 4. */
async function keysOf(issuer: string, cooldownSeconds: number): Promise<Keys> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const response = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  const said = (await response.json()) as { issuer?: unknown; jwks_uri?: unknown };
  if (said.issuer !== issuer) throw new Error(`${url} is of the issuer ${String(said.issuer)}`);
  const keysUrl = new URL(String(said.jwks_uri));
  if (keysUrl.protocol !== new URL(issuer).protocol) throw new Error(`${url} has its keys at ${keysUrl.href}`);
  return createRemoteJWKSet(keysUrl, {
    timeoutDuration: TIMEOUT_MS,
    cooldownDuration: cooldownSeconds * 1000,
  });
}

/** Undefined: nothing is known to be wrong with the token, the provider's keys could not be had. */
function whatIsWrong(error: unknown): string | undefined {
  if (error instanceof errors.JWTExpired) return 'it has expired';
  if (error instanceof errors.JWTClaimValidationFailed)
    return error.claim === 'nbf' ? 'it is not valid yet' : `its claim "${error.claim}" is not what it has to be`;
  if (error instanceof errors.JOSEAlgNotAllowed) return `its algorithm is none of ${ALGORITHMS.join(', ')}`;
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return "it does not name one of the provider's keys";
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'its signature is wrong';
  if (
    error instanceof errors.JWSInvalid ||
    error instanceof errors.JWTInvalid ||
    error instanceof errors.JOSENotSupported
  )
    return 'it is not a signed JWT';
  return undefined;
}
