// The Runtime API loop. The managed runtime's own client needs a native build; this does less, in
// the peer's favour.
import { Agent, request } from 'node:http';

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const agent = new Agent({ keepAlive: true, maxSockets: 2 });

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const outgoing = request({ agent, host, port, method, path: `/2018-06-01/runtime/invocation/${path}` }, (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('end', () => resolve({ headers: answer.headers, text: Buffer.concat(chunks).toString() }));
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

export async function run(handler) {
  for (;;) {
    const event = await call('GET', 'next');
    const id = event.headers['lambda-runtime-aws-request-id'];
    try {
      await call('POST', `${id}/response`, JSON.stringify(await handler(JSON.parse(event.text))));
    } catch (error) {
      await call('POST', `${id}/error`, JSON.stringify({ errorType: 'Error', errorMessage: error.message }));
    }
  }
}
