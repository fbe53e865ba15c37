// Unary calls over grpc-js, as README.md says.
const fs = require('fs');
const readline = require('readline');
const grpc = require('@grpc/grpc-js');

const [target, ca, certificate, key] = process.argv.slice(2);
const credentials = ca
  ? grpc.credentials.createSsl(fs.readFileSync(ca), fs.readFileSync(key), fs.readFileSync(certificate))
  : grpc.credentials.createInsecure();
const options = {
  'grpc.keepalive_time_ms': 200,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.min_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 200,
  ...(ca ? {'grpc.ssl_target_name_override': 'localhost'} : {}),
};
const plain = new grpc.Client(target, credentials, options);
const packing = new grpc.Client(target, credentials, {...options, 'grpc.default_compression_algorithm': 2});
const same = (bytes) => bytes;

function ask(call, tally) {
  const metadata = new grpc.Metadata({waitForReady: true});
  if (call.metadata) metadata.set('x-padding', 'p'.repeat(call.metadata));
  const deadline = Date.now() + call.deadline;
  return new Promise((done) => (call.gzip ? packing : plain).makeUnaryRequest(
    call.path, same, same, call.message, metadata, {deadline}, (error, answer) => {
      const status = error ? error.code : 0;
      tally.counts[status] = (tally.counts[status] || 0) + 1;
      if (!error) tally.answer = answer.toString('hex');
      done();
    }));
}

async function flood(call, seconds, tally) {
  const end = Date.now() + seconds * 1000;
  while (Date.now() < end) await ask(call, tally);
}

async function main() {
  for await (const line of readline.createInterface({input: process.stdin})) {
    const tally = {counts: {}, answer: ''};
    const words = line.split(' ');
    const message = words[words.length - 1] === '-' ? Buffer.alloc(0) : Buffer.from(words[words.length - 1], 'hex');
    const running = [];
    if (words[0] === 'flood') {
      const call = {path: words[1], deadline: 20000, metadata: 0, gzip: 0, message};
      for (let number = 0; number < Number(words[3]); number++) running.push(flood(call, Number(words[2]), tally));
    } else {
      const [deadline, count, metadata, gzip] = words.slice(1, 5).map(Number);
      for (let number = 0; number < count; number++)
        running.push(ask({path: words[0], deadline, metadata, gzip, message}, tally));
    }
    await Promise.all(running);
    const counts = Object.entries(tally.counts).map(([status, count]) => `${status}:${count}`);
    console.log([...counts, tally.answer || '-'].join(' '));
  }
  plain.close();
  packing.close();
}

main();
