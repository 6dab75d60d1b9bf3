/**
 * Plays `docker` for the clients' local builds, where there is no engine: it knows one image, an entry of the emulated
 * account's catalogue, and pushes it to the emulated registry with what it was logged in with.
 *
 *     REHEARSAL_ENDPOINT=… DOCKER_IMAGE=stub docker.ts [--config DIRECTORY] [--host URL] info | login | tag | push | …
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { attachRehearsal } from '../../services/rehearsal/index.ts';
import { push } from './push.ts';

const { REHEARSAL_ENDPOINT: endpoint, DOCKER_IMAGE: image, HOME: home } = process.env;
const words = process.argv.slice(2);
const option = (name: string): string | undefined => (words[0] === name ? words.splice(0, 2)[1] : undefined);
const config = option('--config') ?? join(home!, '.docker');
option('--host');
const [command, ...args] = words;
const last = args.at(-1)!;

/** What was pushed, by name and tag. */
const file = join(home!, 'docker.json');
const pushed: Record<string, string> = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};

/** As in the client's `config.json`; the clients write it themselves. */
const login = (host: string): [username: string, password: string] => {
  const { auths } = JSON.parse(readFileSync(join(config, 'config.json'), 'utf8'));
  return Buffer.from(auths[host].auth, 'base64').toString().split(/:(.*)/s) as [string, string];
};

switch (command) {
  case 'info':
  case 'tag':
    break;
  case 'context':
    console.log('unix:///var/run/docker.sock');
    break;
  case 'image': // inspect --format FORMAT IMAGE
    console.log(args.includes('{{json .RepoDigests}}') ? JSON.stringify([pushed[last]]) : 'linux/amd64');
    break;
  case 'login': {
    const rehearsal = await attachRehearsal(endpoint!);
    const [username] = args.slice(args.indexOf('-u') + 1);
    const basic = Buffer.from(`${username}:${readFileSync(0, 'utf8').trim()}`).toString('base64');
    const answer = await rehearsal.fetch(`http://${last}/v2/`, { headers: { authorization: `Basic ${basic}` } });
    if (!answer.ok) throw new Error(`login attempt to https://${last}/v2/ failed with status: ${answer.status}`);
    break;
  }
  case 'push': {
    const [, repository, tag] = /^(.+):([^:/]+)$/.exec(last)!;
    const [username, password] = login(repository!.split('/')[0]!);
    const rehearsal = await attachRehearsal(endpoint!);
    const digest = await push(rehearsal, { repository: repository!, tag: tag!, username, password, image: image! });
    writeFileSync(file, JSON.stringify({ ...pushed, [last]: `${repository}@${digest}` }));
    break;
  }
  case undefined:
  default:
    throw new Error(`not played: docker ${words.join(' ')}`);
}
