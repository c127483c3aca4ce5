// Signs a request body and sends it, by the same calls of Node as Coop's server:
//   node coop_signs.mjs key FILE            a new key pair: FILE is the public one, FILE.jwk the private one
//   node coop_signs.mjs send FILE URL BODY
import { readFileSync, writeFileSync } from 'node:fs';

const [, , command, file, url, text] = process.argv;
const algorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
if (command === 'key') {
  const details = { ...algorithm, modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) };
  const pair = await crypto.subtle.generateKey(details, true, ['sign', 'verify']);
  const spki = Buffer.from(await crypto.subtle.exportKey('spki', pair.publicKey)).toString('base64');
  writeFileSync(file, `-----BEGIN PUBLIC KEY-----\n${spki}\n-----END PUBLIC KEY-----`);
  writeFileSync(`${file}.jwk`, JSON.stringify(await crypto.subtle.exportKey('jwk', pair.privateKey)));
} else {
  const key = await crypto.subtle.importKey('jwk', JSON.parse(readFileSync(`${file}.jwk`)), algorithm, false, ['sign']);
  const signed = await crypto.subtle.sign(algorithm.name, key, new TextEncoder().encode(text));
  const headers = { 'Content-Type': 'application/json', 'coop-signature': Buffer.from(signed).toString('base64') };
  const answer = await fetch(url, { method: 'post', headers, body: text });
  console.log(answer.status, await answer.text());
}
