// What programs do with npm's @kubernetes/client-node: typed objects, patches, watch, informer.
//
//   NODE_PATH is not read by modules, so the package is found from its own folder:
//   node tests/clients/client.mjs target/tools/clients/node KUBECONFIG NAMESPACE
//
// Needs a namespace of its own, which it fills and empties. Prints a line for each step, and ends
// with the first that goes wrong.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, kubeconfig, ns] = process.argv.slice(2);
const entry = createRequire(path.resolve(folder, 'package.json')).resolve('@kubernetes/client-node');
const k8s = await import(pathToFileURL(entry));

const PATIENCE = 60_000;
const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfig);
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);

const map = (name, data) => ({ metadata: { name, labels: { by: 'node' } }, data });

async function refused(code, call) {
    await assert.rejects(call, (error) => {
        assert.equal(error.code, code, String(error));
        return true;
    });
}

/** Resolves once `look` is true; asked again at every change. */
function waitFor(what, look, changes) {
    return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`${what}: not within ${PATIENCE} ms`)), PATIENCE);
        const check = () => {
            if (look()) {
                clearTimeout(timer);
                resolve();
            }
        };
        changes.push(check);
        check();
    });
}

const steps = {
    async typed() {
        const made = await core.createNamespacedConfigMap({ namespace: ns, body: map('typed', { a: '1' }) });
        assert.ok(made.metadata.uid);
        await refused(409, core.createNamespacedConfigMap({ namespace: ns, body: map('typed') }));
        await refused(404, core.readNamespacedConfigMap({ namespace: ns, name: 'none' }));
        await refused(422, core.createNamespacedConfigMap({ namespace: ns, body: map('Not_A_Name') }));
        made.data.b = '2';
        await core.replaceNamespacedConfigMap({ namespace: ns, name: 'typed', body: made });
        await refused(409, core.replaceNamespacedConfigMap({ namespace: ns, name: 'typed', body: made }));
        for (const [strategy, body, expect] of [
            [k8s.PatchStrategy.JsonPatch, [{ op: 'replace', path: '/data/a', value: '3' }], { a: '3', b: '2' }],
            [k8s.PatchStrategy.MergePatch, { data: { b: null } }, { a: '3' }],
            [k8s.PatchStrategy.StrategicMergePatch, { data: { c: '4' } }, { a: '3', c: '4' }],
        ]) {
            const options = k8s.setHeaderOptions('Content-Type', strategy);
            const patched = await core.patchNamespacedConfigMap({ namespace: ns, name: 'typed', body }, options);
            assert.deepEqual(patched.data, expect);
        }
        await core.deleteNamespacedConfigMap({ namespace: ns, name: 'typed' });
    },

    async objects() {
        const client = k8s.KubernetesObjectApi.makeApiClient(config);
        const object = {
            apiVersion: 'apps/v1',
            kind: 'Deployment',
            metadata: { name: 'objects', namespace: ns },
            spec: {
                replicas: 0,
                selector: { matchLabels: { app: 'objects' } },
                template: {
                    metadata: { labels: { app: 'objects' } },
                    spec: { containers: [{ name: 'main', image: 'hello:v1' }] },
                },
            },
        };
        await client.create(object);
        const read = await client.read(object);
        assert.equal(read.spec.replicas, 0);
        const patched = await client.patch({ ...object, spec: { ...object.spec, paused: true } });
        assert.equal(patched.spec.paused, true);
        const scale = await apps.readNamespacedDeploymentScale({ namespace: ns, name: 'objects' });
        assert.equal(scale.spec.replicas, 0);
        await client.delete(object, undefined, undefined, undefined, undefined, 'Foreground');
    },

    async watches() {
        const list = await core.listNamespacedConfigMap({ namespace: ns });
        const seen = [];
        const changes = [];
        const watch = new k8s.Watch(config);
        const request = await watch.watch(
            `/api/v1/namespaces/${ns}/configmaps`,
            { resourceVersion: list.metadata.resourceVersion, labelSelector: 'by=node', allowWatchBookmarks: true },
            (type, object) => {
                if (type !== 'BOOKMARK') seen.push(`${type} ${object.metadata.name}`);
                changes.forEach((check) => check());
            },
            () => {},
        );
        await core.createNamespacedConfigMap({ namespace: ns, body: map('watched') });
        await core.deleteNamespacedConfigMap({ namespace: ns, name: 'watched' });
        await waitFor('both events', () => seen.length === 2, changes);
        assert.deepEqual(seen, ['ADDED watched', 'DELETED watched']);
        request.abort();
    },

    async informer() {
        await core.createNamespacedConfigMap({ namespace: ns, body: map('informed-1') });
        const seen = [];
        const changes = [];
        const informer = k8s.makeInformer(
            config,
            `/api/v1/namespaces/${ns}/configmaps`,
            () => core.listNamespacedConfigMap({ namespace: ns, labelSelector: 'by=node' }),
            'by=node',
        );
        for (const event of ['add', 'update', 'delete']) {
            informer.on(event, (object) => {
                seen.push(`${event} ${object.metadata.name}`);
                changes.forEach((check) => check());
            });
        }
        await informer.start();
        await core.createNamespacedConfigMap({ namespace: ns, body: map('informed-2') });
        await waitFor('the second', () => seen.includes('add informed-2'), changes);
        await core.deleteNamespacedConfigMap({ namespace: ns, name: 'informed-1' });
        await waitFor('the deletion', () => seen.includes('delete informed-1'), changes);
        assert.equal(informer.get('informed-1', ns), undefined);
        assert.ok(informer.get('informed-2', ns));
        await informer.stop();
    },
};

await core.createNamespace({ body: { metadata: { name: ns } } });
for (const [name, step] of Object.entries(steps)) {
    await step();
    console.log('ok', name);
}
await core.deleteNamespace({ name: ns });
process.exit(0);
