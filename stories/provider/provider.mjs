// A real provider of single sign-on (npm's `oidc-provider`, which is certified) on loopback, for one story. What it is to be is its one
// argument, in JSON: `port`, `client_id`, `client_secret`, `redirect_uris`; `alg`, with which it signs, by a key made at the start; how long
// a code holds; and the id of another client, which has all else as that one.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const { port, alg, codes_hold_seconds, other_client_id, ...client } = JSON.parse(process.argv[2]);
const kinds = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};
const key = (alg) => {
  const { privateKey } = generateKeyPairSync(...kinds[alg]);
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg };
};
// Its own default is RS256, so there is always a key for that; others stand beside it, as at many a provider.
const keys = [...new Set(['RS256', alg])].map(key);

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [client.client_id, other_client_id].map((client_id) => ({
    ...client, client_id, grant_types: ['authorization_code'], response_types: ['code'], id_token_signed_response_alg: alg,
  })),
  ttl: { AuthorizationCode: codes_hold_seconds },
  enabledJWA: { idTokenSigningAlgValues: Object.keys(kinds) },
  jwks: { keys },
  cookies: { keys: [randomUUID()] },
  claims: { openid: ['sub'], profile: ['preferred_username', 'name'], email: ['email', 'email_verified'] },
  pkce: { required: () => true },
  // Whoever types a name is that person.
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, name: id, email: `${id}@example.org`, email_verified: false }),
  }),
});
createServer(provider.callback()).listen(port, '127.0.0.1', () => console.log('listening'));
