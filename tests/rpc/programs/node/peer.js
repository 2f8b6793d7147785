'use strict';

// SOFARPC for Node: `serve NAME PROTOCOL PORT …`, or a client that takes commands as the other peers do.
// Protocols: bolt (version 1), bolt21 and bolt22 (version 2 without and with checksums), dubbo (dubbo-remoting).

const readline = require('readline');
const bolt = require('sofa-bolt-node');
const dubbo = require('dubbo-remoting');
const { RpcClient } = require('sofa-rpc-node').client;
const { RpcServer } = require('sofa-rpc-node').server;

const silent = () => {};
const logger = { info: silent, debug: silent, warn: console.error, error: console.error };
const INTERFACE = 'Echo';
const PATIENCE_MS = 60_000;

function protocolOf(name) {
  if (name === 'dubbo') return dubbo;
  if (name === 'bolt') return bolt;
  const version = Number(name.slice(-1));
  return Object.assign({}, bolt, {
    encoder(options) {
      const encoder = bolt.encoder(options);
      encoder.protocolType = 'bolt2';
      encoder.boltVersion = version;
      encoder.crcEnable = version === 2;
      return encoder;
    },
  });
}

function provider(name) {
  let notes = [];
  return {
    async echo(text) { return text; },
    async who() { return name; },
    async note(text) {
      notes.push(text);
      return 'noted';
    },
    async noted() {
      const all = notes.join(',');
      notes = [];
      return `noted:${all}`;
    },
    async fail(text) {
      const error = new Error(text);
      error.name = 'IllegalStateException';
      throw error;
    },
    async nap(milliseconds) {
      await new Promise(resolve => setTimeout(resolve, Number(milliseconds)));
      return 'slept';
    },
  };
}

async function serve(name, protocol, port) {
  const server = new RpcServer({ logger, port, protocol: protocolOf(protocol), responseTimeout: PATIENCE_MS });
  server.on('error', error => console.error(error));
  server.addService({ interfaceName: INTERFACE, version: '1.0' }, provider(name));
  await server.start();
}

class Caller {
  constructor(protocol) {
    this.isDubbo = protocol === 'dubbo';
    this.client = new RpcClient({ logger, protocol: protocolOf(protocol) });
    this.client.on('error', error => console.error(error));
    this.consumers = new Map();
  }

  async consumer(at) {
    let consumer = this.consumers.get(at);
    if (!consumer) {
      const group = this.isDubbo ? '' : 'SOFA';
      consumer = this.client.createConsumer({ interfaceName: INTERFACE, version: '1.0', group, serverHost: at });
      this.consumers.set(at, consumer);
      await consumer.ready();
    }
    return consumer;
  }

  async once(command, text) {
    const consumer = await this.consumer(command.get('at'));
    const requestProps = this.isDubbo ? {} : { service: `${INTERFACE}:1.0` };
    for (const [ name, value ] of command) {
      if (name.startsWith('header.')) requestProps[name.slice('header.'.length)] = value;
    }
    const options = { requestProps, responseTimeout: Number(command.get('timeout') || 10_000) };
    return await consumer.invoke(command.get('method') || 'echo', [ text ], options);
  }

  async run(command) {
    const size = Number(command.get('size') || 0);
    const text = size ? 'x'.repeat(size) : command.get('text') || '';
    const count = Number(command.get('count') || 1);
    if (count === 1) {
      const value = await this.once(command, text);
      return size ? `${value === text ? 'same' : 'other'} ${value.length}` : value;
    }
    const calls = Array.from({ length: count }, async (_, call) =>
      (await this.once(command, text + call)) === text + call);
    return String((await Promise.all(calls)).filter(Boolean).length);
  }
}

async function answer(callers, command) {
  const protocol = command.get('protocol') || 'bolt';
  if (!callers.has(protocol)) callers.set(protocol, new Caller(protocol));
  try {
    return new URLSearchParams({ value: await callers.get(protocol).run(command) });
  } catch (error) {
    return new URLSearchParams({ error: error.name, message: error.message });
  }
}

async function main([ role, name, ...listeners ]) {
  if (role === 'serve') {
    for (let at = 0; at < listeners.length; at += 2) {
      await serve(name, listeners[at], Number(listeners[at + 1]));
    }
    console.log('ready');
    return;
  }
  const callers = new Map();
  console.log('ready');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log((await answer(callers, new URLSearchParams(line))).toString());
  }
  process.exit(0);
}

main(process.argv.slice(2));
