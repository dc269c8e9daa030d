//! HTTP: a request comes in, a verb of the registry is called, a response goes out.
//! A file per verb; none of them knows a kind.

mod agent;
mod apply;
mod binding;
mod body;
mod connect;
mod delivery;
mod discovery;
mod documents;
mod dress;
mod eviction;
mod list;
mod log;
mod negotiate;
mod partial;
mod patch;
mod protobuf;
mod proxy;
mod published;
mod request;
mod respond;
mod review;
mod scale;
mod selection;
mod table;
mod token;
mod watch;
mod write;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use euston_access::{Asked, User};
use euston_tls::HttpsClient;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::upgrade::OnUpgrade;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::error::{ApiError, Result};
use crate::registry::kind::{Closed, Kind, Subresource};
use crate::registry::options::parse_resource_version;
use crate::registry::{Part, Registry, Resource};
use crate::storage::ObjectKey;
use delivery::Budget;
use dress::Dress;
use negotiate::Accepted;
use request::{Query, ResourcePath};
use selection::Selection;
use table::IncludeObject;
use watch::WatchOptions;

pub use discovery::GIT_VERSION;
pub use published::Published;

/// Reads under way at a time (kube-apiserver's `max-requests-inflight`); more are told
/// to come back, so that a flood of lists cannot exhaust memory.
const READS_MAX: usize = 400;
/// Writes under way at a time. More than kube-apiserver's 200, since ours wait for
/// nothing but the store, which groups them.
const WRITES_MAX: usize = 1_000;
/// Watches, log streams, and connections to nodes open at a time. Each costs about 2 KiB while idle.
const STREAMS_MAX: usize = 20_000;

/// How long a request that is no stream may take (kube-apiserver's `request-timeout`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Everything that answers requests.
pub struct Api {
    registry: Arc<Registry>,
    access: Arc<Access>,
    published: Arc<Published>,
    node_client: Option<HttpsClient>,
    reads: Semaphore,
    writes: Semaphore,
    streams: Arc<Semaphore>,
    budget: Budget,
    shutdown: CancellationToken,
}

impl Api {
    /// An API over `registry`. `node_client` is what nodes are asked with.
    pub fn new(
        registry: Arc<Registry>,
        access: Arc<Access>,
        node_client: Option<HttpsClient>,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Api {
            published: Arc::new(Published::new(registry.table().clone())),
            registry,
            access,
            node_client,
            reads: Semaphore::new(READS_MAX),
            writes: Semaphore::new(WRITES_MAX),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            budget: Budget::new(),
            shutdown,
        })
    }

    /// What is told of the kinds, for upkeep to trim.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// The routes. Images are served beside it, on paths that roles name.
    pub fn router(self: Arc<Self>, images: Router) -> Router {
        let door = axum::middleware::from_fn_with_state(self.clone(), at_the_door);
        let images = images.layer(door);
        let api = self;
        images.fallback_service(tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, std::convert::Infallible>(api.answer(request).await) }
        }))
    }

    async fn answer(&self, request: Request<Body>) -> Response {
        let encoding = negotiate::plain(request.headers());
        let dress = Dress::of(request.method(), request.uri(), request.headers());
        let response = match self.route(request).await {
            Ok(response) => response,
            Err(error) => respond::error(&error, encoding),
        };
        dress.on(response).await
    }

    async fn route(&self, request: Request<Body>) -> Result<Response> {
        let (parts, body) = request.into_parts();
        let user = self.who(&parts)?;
        let path = parts.uri.path();
        let query = Query::parse(parts.uri.query());
        if let Some(target) = ResourcePath::parse(path) {
            return self.resource(&user, &parts, target, query, body).await;
        }
        self.may_have(&user, &parts)?;
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return Err(self.unwritable(path, &parts));
        }
        match path.trim_end_matches('/') {
            "/healthz" | "/livez" | "/readyz" => return Ok(self.health().await),
            "/version" => return Ok(discovery::version()),
            "/openid/v1/jwks" => {
                let keys = self.access.tokens().key_set().to_string();
                return Ok(respond::typed(
                    StatusCode::OK,
                    "application/jwk-set+json",
                    keys,
                ));
            }
            "/.well-known/openid-configuration" => {
                let document = self.access.tokens().discovery().to_string();
                return Ok(respond::json(StatusCode::OK, document));
            }
            _ => {}
        }
        if path.starts_with("/openapi/") {
            let documents = &self.published.now().documents;
            return documents::respond(documents, path, &parts.headers, &query).await;
        }
        if path == "/" {
            return Ok(self.published.now().discovery.index());
        }
        let edition = self.published.now();
        edition
            .discovery
            .respond(path, &parts.headers)
            .ok_or_else(ApiError::no_such_path)
    }

    /// Why a path that is no resource cannot be written.
    fn unwritable(&self, path: &str, parts: &Parts) -> ApiError {
        let known = ["/healthz", "/livez", "/readyz", "/version"].contains(&path);
        let edition = self.published.now();
        if known || edition.discovery.respond(path, &parts.headers).is_some() {
            read_only(path, &parts.method)
        } else {
            ApiError::no_such_path()
        }
    }

    /// Who asks, and whom they ask to be.
    fn who(&self, parts: &Parts) -> Result<Arc<User>> {
        let user = self.access.authenticate(parts)?;
        self.access.masquerade(user, &parts.headers)
    }

    /// Refuses a path that is no resource to those who may not.
    fn may_have(&self, user: &User, parts: &Parts) -> Result<()> {
        let verb = parts.method.as_str().to_ascii_lowercase();
        let asked = Asked::Path {
            verb: &verb,
            path: parts.uri.path(),
        };
        self.access.authorize(user, &asked)
    }

    async fn health(&self) -> Response {
        let (status, text) = match self.registry.storage().fresh().await {
            Ok(_) => (StatusCode::OK, "ok".to_owned()),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("store: {error}\n")),
        };
        respond::typed(status, "text/plain; charset=utf-8", text)
    }

    async fn resource(
        &self,
        user: &User,
        parts: &Parts,
        target: ResourcePath,
        query: Query,
        body: Body,
    ) -> Result<Response> {
        let (method, headers) = (&parts.method, &parts.headers);
        let watching = target.name.is_none() && (target.watch || query.flag("watch"));
        let verb = target.verb(method, watching);
        for action in verb
            .into_iter()
            .flat_map(|verb| target.actions(verb, &query))
        {
            self.access.authorize(user, &Asked::Resource(action))?;
        }
        let row = self
            .registry
            .resource(&target.group, &target.version, &target.resource)
            .ok_or_else(ApiError::no_such_path)?;
        let resource = row.resource().asked_by(user);
        // Also of a verb that a kind of this sort does not answer.
        let verb = verb
            .filter(|verb| target.subresource.is_some() || resource.kind.verbs.contains(verb))
            .ok_or_else(|| not_allowed(resource.kind, &target, method))?;
        match &resource.kind.closed {
            Some(Closed::ToAll(why)) => return Err(ApiError::internal(why)),
            Some(Closed::ToCreation(why)) if verb == "create" => {
                let mut error = not_allowed(resource.kind, &target, method);
                error.message.clone_from(why);
                return Err(error);
            }
            _ => {}
        }
        // Applying creates what is not there.
        let may_create = verb == "patch"
            && apply::is_apply(headers)
            && target
                .actions("create", &query)
                .all(|action| self.access.may(user, &Asked::Resource(action)));
        let namespace = target.namespace.as_deref();
        if namespace.is_some() && !resource.kind.names.namespaced {
            return Err(ApiError::no_such_path());
        }
        let sub = match &target.subresource {
            None => None,
            Some(name) => Some(
                *resource
                    .kind
                    .subresources
                    .iter()
                    .find(|s| s.name() == name)
                    .ok_or_else(ApiError::no_such_path)?,
            ),
        };
        if let Some(
            sub @ (Subresource::Exec
            | Subresource::Attach
            | Subresource::PortForward
            | Subresource::Proxy(_)),
        ) = sub
        {
            return self
                .relay(resource, sub, parts, &target, &query, body)
                .await;
        }
        let streams = watching || sub == Some(Subresource::Log);
        if streams {
            let permit = self.place()?;
            let response = match sub {
                Some(_) => {
                    let key = self.key(resource, &target)?;
                    let client = self.node_client.as_ref();
                    let log = log::get(&self.registry, resource, &key, &query, client).await?;
                    if euston_streams::wanted_upgrade(headers).is_some() {
                        return log::over_websocket(log, headers, self.pipe(parts)?);
                    }
                    log
                }
                None => {
                    return self
                        .watch(resource, namespace, headers, &query, permit)
                        .await;
                }
            };
            return Ok(held(response, permit));
        }
        let reading = matches!(verb, "get" | "list");
        let gate = if reading { &self.reads } else { &self.writes };
        let _permit = gate.try_acquire().map_err(|_| {
            ApiError::too_many_requests("too many requests are under way, please try again later")
        })?;
        // Zero is for no wish of its own.
        let asked = query.duration("timeout")?.filter(|t| !t.is_zero());
        let limit = asked.map_or(REQUEST_TIMEOUT, |asked| asked.min(REQUEST_TIMEOUT));
        let (body, _charge) = self.budget.charge(body);
        let call = Call {
            api: self,
            resource,
            sub,
            verb,
            method,
            headers,
            query: &query,
            may_create,
        };
        // Boxed: the largest of the verbs' futures would otherwise sit in every request's.
        let work: BoxFuture<'_, Result<Response>> = Box::pin(call.answer(&target, body));
        match tokio::time::timeout(limit, work).await {
            Ok(result) => result,
            Err(_) => Err(ApiError::timeout(format!(
                "Timeout: request did not complete within {limit:?}; whether a write happened is unknown"
            ))),
        }
    }

    /// A place among the streams.
    fn place(&self) -> Result<OwnedSemaphorePermit> {
        self.streams.clone().try_acquire_owned().map_err(|_| {
            ApiError::too_many_requests(format!(
                "{STREAMS_MAX} watches and log streams are open already, please try again later"
            ))
        })
    }

    /// A place for a client that may be connected with a node.
    fn pipe(&self, parts: &Parts) -> Result<agent::Pipe> {
        Ok(agent::Pipe {
            upgrade: parts.extensions.get::<OnUpgrade>().cloned(),
            permit: self.place()?,
            shutdown: self.shutdown.clone(),
        })
    }

    /// What a node answers. Takes as long as client and node want.
    async fn relay(
        &self,
        resource: Resource<'_>,
        sub: Subresource,
        parts: &Parts,
        target: &ResourcePath,
        query: &Query,
        body: Body,
    ) -> Result<Response> {
        let (registry, client) = (&self.registry, self.node_client.as_ref());
        let pipe = self.pipe(parts)?;
        match sub {
            Subresource::Proxy(to) => {
                let call = proxy::Call {
                    resource,
                    to,
                    target,
                    parts,
                    body,
                    client,
                };
                Box::pin(proxy::proxy(registry, call, pipe)).await
            }
            _ => {
                let key = self.key(resource, target)?;
                let call = connect::Call {
                    resource,
                    key: &key,
                    sub,
                    parts,
                    query,
                    client,
                };
                Box::pin(connect::connect(registry, call, pipe)).await
            }
        }
    }

    async fn get(
        &self,
        resource: Resource<'_>,
        key: &ObjectKey,
        headers: &HeaderMap,
        query: &Query,
    ) -> Result<Response> {
        let accepted = negotiate::accepted(headers, resource.kind)?;
        let include = IncludeObject::parse(query)?;
        let entry = match query
            .get("resourceVersion")
            .map(parse_resource_version)
            .transpose()?
        {
            None => self.registry.get(resource, key).await?,
            // Whatever is at hand will do, if it is as new as the client's.
            Some(version) => {
                let storage = self.registry.storage();
                storage.wait_for(version, list::WAIT_FOR_VERSION).await?;
                resource
                    .cache
                    .get(key)
                    .ok_or_else(|| resource.not_found(crate::registry::name_of(key)))?
            }
        };
        respond::object(StatusCode::OK, resource, &entry, accepted, include)
    }

    async fn watch(
        &self,
        resource: Resource<'_>,
        namespace: Option<&str>,
        headers: &HeaderMap,
        query: &Query,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response> {
        let selection = Selection::parse(resource.kind, namespace, query)?;
        let options = WatchOptions::parse(query)?;
        let accepted: Accepted = negotiate::accepted(headers, resource.kind)?;
        let include = IncludeObject::parse(query)?;
        let shutdown = self.shutdown.clone();
        watch::respond(
            &self.registry,
            resource,
            selection,
            options,
            accepted,
            include,
            shutdown,
            permit,
        )
        .await
    }

    fn key(&self, resource: Resource<'_>, target: &ResourcePath) -> Result<ObjectKey> {
        let name = target.name.as_deref().ok_or_else(ApiError::no_such_path)?;
        let namespace = target.namespace.as_deref();
        if resource.kind.names.namespaced != namespace.is_some() {
            return Err(ApiError::no_such_path());
        }
        Ok(ObjectKey::new(namespace, name))
    }
}

/// One request that is no stream, past authorization.
struct Call<'a> {
    api: &'a Api,
    resource: Resource<'a>,
    sub: Option<Subresource>,
    verb: &'static str,
    method: &'a Method,
    headers: &'a HeaderMap,
    query: &'a Query,
    /// An apply may create what is not there.
    may_create: bool,
}

impl Call<'_> {
    async fn answer(self, target: &ResourcePath, body: Body) -> Result<Response> {
        let Call {
            api,
            resource,
            headers,
            query,
            ..
        } = self;
        let registry = &api.registry;
        let namespace = target.namespace.as_deref();
        let all_namespaces = resource.kind.names.namespaced && namespace.is_none();
        let not_allowed = || not_allowed(resource.kind, target, self.method);
        if self.sub.is_none() && !resource.kind.verbs.contains(&self.verb) {
            return Err(not_allowed());
        }
        match (self.verb, self.sub) {
            ("list", None) => {
                let selection = Selection::parse(resource.kind, namespace, query)?;
                let options = list::ListOptions::parse(query)?;
                let accepted = negotiate::accepted(headers, resource.kind)?;
                let include = IncludeObject::parse(query)?;
                let page = list::page(registry, resource, &selection, &options).await?;
                list::respond(resource, page, accepted, include, &api.budget)
            }
            ("create" | "deletecollection", None) if target.name.is_none() && all_namespaces => {
                Err(not_allowed())
            }
            ("create", None) if target.name.is_none() && !resource.kind.is_stored() => {
                review::answer(
                    registry,
                    resource,
                    namespace,
                    headers,
                    query,
                    body,
                    &api.access,
                )
                .await
            }
            ("create", None) if target.name.is_none() => {
                write::create(registry, resource, namespace, headers, query, body).await
            }
            ("deletecollection", None) => {
                let budget = &api.budget;
                write::delete_collection(
                    registry, resource, namespace, headers, query, body, budget,
                )
                .await
            }
            _ => {
                let key = api.key(resource, target)?;
                self.answer_object(target, &key, body).await
            }
        }
    }

    async fn answer_object(
        self,
        target: &ResourcePath,
        key: &ObjectKey,
        body: Body,
    ) -> Result<Response> {
        let Call {
            api,
            resource,
            method,
            headers,
            query,
            ..
        } = self;
        let registry = &api.registry;
        let part = Part::at(self.sub);
        match (self.verb, self.sub) {
            ("get", sub) if sub.is_none_or(Subresource::is_part) => {
                api.get(resource, key, headers, query).await
            }
            ("update", sub) if sub.is_none_or(Subresource::is_part) => {
                write::replace(registry, resource, key, part, headers, query, body).await
            }
            ("patch", sub) if sub.is_none_or(Subresource::is_part) && apply::is_apply(headers) => {
                let may_create = self.may_create;
                apply::apply(
                    registry, resource, key, part, headers, query, body, may_create,
                )
                .await
            }
            ("patch", sub) if sub.is_none_or(Subresource::is_part) => {
                patch::patch(registry, resource, key, part, headers, query, body).await
            }
            ("delete", None) => write::delete(registry, resource, key, headers, query, body).await,
            ("get", Some(Subresource::Scale)) => scale::get(registry, resource, key, headers).await,
            ("update" | "patch", Some(Subresource::Scale)) => {
                scale::set(registry, resource, key, method, headers, query, body).await
            }
            ("create", Some(Subresource::Binding)) => {
                binding::bind(registry, resource, key, headers, query, body).await
            }
            ("create", Some(Subresource::Token)) => {
                token::create(registry, resource, key, headers, query, body, &api.access).await
            }
            ("create", Some(Subresource::Eviction)) => {
                eviction::evict(registry, resource, key, headers, query, body).await
            }
            ("update", Some(Subresource::Finalize)) => {
                binding::finalize(registry, resource, key, headers, query, body).await
            }
            _ => Err(not_allowed(resource.kind, target, method)),
        }
    }
}

/// 405 for a resource, with the methods that it does answer.
fn not_allowed(kind: &Kind, target: &ResourcePath, method: &Method) -> ApiError {
    let sub = target.subresource.as_deref();
    let verbs = match sub.and_then(|name| kind.subresources.iter().find(|s| s.name() == name)) {
        Some(sub) => sub.verbs(),
        None => kind.verbs,
    };
    // The methods of a collection are not those of an object in it.
    let methods: &[(&str, &[&str])] = match target.name {
        Some(_) => &[
            ("get", &["GET", "HEAD"]),
            ("create", if sub.is_some() { &["POST"] } else { &[] }),
            ("update", &["PUT"]),
            ("patch", &["PATCH"]),
            ("delete", &["DELETE"]),
        ],
        None if kind.names.namespaced && target.namespace.is_none() => {
            &[("list", &["GET", "HEAD"])]
        }
        None => &[
            ("list", &["GET", "HEAD"]),
            ("create", &["POST"]),
            ("deletecollection", &["DELETE"]),
        ],
    };
    let answered: Vec<&str> = methods
        .iter()
        .filter(|(verb, _)| verbs.contains(verb))
        .flat_map(|(_, methods)| methods.iter().copied())
        .collect();
    ApiError::method_not_allowed(&kind.names.group, &kind.names.plural, method.as_str())
        .allowing(&answered)
}

/// 405 for a path that can only be read.
fn read_only(path: &str, method: &Method) -> ApiError {
    ApiError::method_not_allowed("", path, method.as_str()).allowing(&["GET", "HEAD"])
}

/// Images are paths to the rules: a node pulls, whoever may push does.
async fn at_the_door(
    State(api): State<Arc<Api>>,
    request: Request<Body>,
    next: axum::middleware::Next,
) -> Response {
    let encoding = negotiate::plain(request.headers());
    let (parts, body) = request.into_parts();
    let allowed = api.who(&parts).and_then(|user| api.may_have(&user, &parts));
    match allowed {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => respond::error(&error, encoding),
    }
}

/// A stream's body, which gives its place back when it ends. Its size is nobody's business: what a
/// pod answers is not to be dressed.
struct Held {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

fn held(response: Response, permit: OwnedSemaphorePermit) -> Response {
    response.map(|body| {
        Body::new(Held {
            body,
            _permit: permit,
        })
    })
}

impl http_body::Body for Held {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<std::result::Result<http_body::Frame<Self::Data>, Self::Error>>>
    {
        std::pin::Pin::new(&mut self.body).poll_frame(cx)
    }
}
