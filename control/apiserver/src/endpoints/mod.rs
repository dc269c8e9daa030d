//! HTTP: a request comes in, a verb of the registry is called, a response goes out.
//! A file per verb; none of them knows a kind.

mod apply;
mod binding;
mod body;
mod discovery;
mod documents;
mod eviction;
mod list;
mod log;
mod negotiate;
mod partial;
mod patch;
mod protobuf;
mod published;
mod request;
mod respond;
mod scale;
mod selection;
mod table;
mod watch;
mod write;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use euston_tls::HttpsClient;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::auth::{self, Action, User};
use crate::error::{ApiError, Result};
use crate::registry::kind::{Closed, Subresource};
use crate::registry::options::parse_resource_version;
use crate::registry::{Part, Registry, Resource};
use crate::storage::ObjectKey;
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
/// Watches and log streams open at a time. Each costs about 2 KiB while idle.
const STREAMS_MAX: usize = 20_000;

/// How long a request that is no stream may take (kube-apiserver's `request-timeout`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Everything that answers requests.
pub struct Api {
    registry: Arc<Registry>,
    published: Arc<Published>,
    node_client: Option<HttpsClient>,
    reads: Semaphore,
    writes: Semaphore,
    streams: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Api {
    /// An API over `registry`. `node_client` is what nodes are asked with.
    pub fn new(
        registry: Arc<Registry>,
        node_client: Option<HttpsClient>,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Api {
            published: Arc::new(Published::new(registry.table().clone())),
            registry,
            node_client,
            reads: Semaphore::new(READS_MAX),
            writes: Semaphore::new(WRITES_MAX),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            shutdown,
        })
    }

    /// What is told of the kinds, for upkeep to trim.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// The routes. Images are served beside it, to those who are known.
    pub fn router(self: Arc<Self>, images: Router) -> Router {
        let images = images.layer(axum::middleware::from_fn(only_known));
        let api = self;
        images.fallback_service(tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, std::convert::Infallible>(api.answer(request).await) }
        }))
    }

    async fn answer(&self, request: Request<Body>) -> Response {
        let encoding = negotiate::plain(request.headers());
        match self.route(request).await {
            Ok(response) => response,
            Err(error) => respond::error(&error, encoding),
        }
    }

    async fn route(&self, request: Request<Body>) -> Result<Response> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        match path.trim_end_matches('/') {
            "/healthz" | "/livez" | "/readyz" if reads => return Ok(self.health().await),
            "/version" if reads => return Ok(discovery::version()),
            _ => {}
        }
        let user = User::of(&parts.extensions);
        if user.is_anonymous() {
            return Err(ApiError::unauthorized());
        }
        let query = Query::parse(parts.uri.query());
        if path.starts_with("/openapi/") && reads {
            let documents = &self.published.now().documents;
            return documents::respond(documents, path, &parts.headers, &query).await;
        }
        if reads
            && let Some(response) = self.published.now().discovery.respond(path, &parts.headers)
        {
            return Ok(response);
        }
        let target = ResourcePath::parse(path).ok_or_else(ApiError::no_such_path)?;
        self.resource(&user, &parts.method, &parts.headers, target, query, body)
            .await
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
        method: &Method,
        headers: &HeaderMap,
        target: ResourcePath,
        query: Query,
        body: Body,
    ) -> Result<Response> {
        let row = self
            .registry
            .resource(&target.group, &target.version, &target.resource)
            .ok_or_else(ApiError::no_such_path)?;
        let resource = row.resource();
        let not_allowed =
            || ApiError::method_not_allowed(&target.group, &target.resource, method.as_str());
        let watching = target.name.is_none() && query.flag("watch")?;
        let verb = target.verb(method, watching).ok_or_else(not_allowed)?;
        let action = Action {
            verb,
            group: &target.group,
            resource: &target.resource,
            subresource: target.subresource.as_deref().unwrap_or_default(),
            namespace: target.namespace.as_deref().unwrap_or_default(),
            name: target.name.as_deref().unwrap_or_default(),
        };
        if !auth::allowed(user, action) {
            let why = auth::refusal(user, action);
            return Err(ApiError::forbidden(
                action.group,
                action.resource,
                action.name,
                &why,
            ));
        }
        match &resource.kind.closed {
            Some(Closed::ToAll(why)) => return Err(ApiError::internal(why)),
            Some(Closed::ToCreation(why)) if verb == "create" => {
                let mut error = not_allowed();
                error.message.clone_from(why);
                return Err(error);
            }
            _ => {}
        }
        // Applying creates what is not there.
        let may_create = verb == "patch" && auth::allowed(user, action.to("create"));
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
        let streams = watching || sub == Some(Subresource::Log);
        if streams {
            let permit = self.streams.clone().try_acquire_owned().map_err(|_| {
                ApiError::too_many_requests(format!(
                    "{STREAMS_MAX} watches and log streams are open already, please try again later"
                ))
            })?;
            let response = match sub {
                Some(_) => {
                    let key = self.key(resource, &target)?;
                    let client = self.node_client.as_ref();
                    log::get(&self.registry, resource, &key, &query, client).await?
                }
                None => self.watch(resource, namespace, headers, &query).await?,
            };
            return Ok(response.map(|body| {
                Body::new(Held {
                    body,
                    _permit: permit,
                })
            }));
        }
        let reading = matches!(verb, "get" | "list");
        let gate = if reading { &self.reads } else { &self.writes };
        let _permit = gate.try_acquire().map_err(|_| {
            ApiError::too_many_requests("too many requests are under way, please try again later")
        })?;
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
        match tokio::time::timeout(REQUEST_TIMEOUT, work).await {
            Ok(result) => result,
            Err(_) => Err(ApiError::timeout(format!(
                "the request did not complete within {} s; whether a write happened is unknown",
                REQUEST_TIMEOUT.as_secs()
            ))),
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
            // Whatever is at hand will do.
            Some(0) => resource
                .cache
                .get(key)
                .ok_or_else(|| resource.not_found(crate::registry::name_of(key)))?,
            _ => self.registry.get(resource, key).await?,
        };
        respond::object(StatusCode::OK, resource, &entry, accepted, include)
    }

    async fn watch(
        &self,
        resource: Resource<'_>,
        namespace: Option<&str>,
        headers: &HeaderMap,
        query: &Query,
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
    /// A patch may create what is not there.
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
        match (self.verb, self.sub) {
            ("list", None) => {
                let selection = Selection::parse(resource.kind, namespace, query)?;
                let options = list::ListOptions::parse(query)?;
                let accepted = negotiate::accepted(headers, resource.kind)?;
                let include = IncludeObject::parse(query)?;
                let page = list::page(registry, resource, &selection, &options).await?;
                list::respond(resource, &page, accepted, include)
            }
            ("create" | "deletecollection", None) if target.name.is_none() && all_namespaces => {
                Err(self.not_allowed())
            }
            ("create", None) if target.name.is_none() => {
                write::create(registry, resource, namespace, headers, query, body).await
            }
            ("deletecollection", None) => {
                write::delete_collection(registry, resource, namespace, headers, query, body).await
            }
            _ => {
                let key = api.key(resource, target)?;
                self.answer_object(&key, body).await
            }
        }
    }

    async fn answer_object(self, key: &ObjectKey, body: Body) -> Result<Response> {
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
            ("create", Some(Subresource::Eviction)) => {
                eviction::evict(registry, resource, key, headers, query, body).await
            }
            ("update", Some(Subresource::Finalize)) => {
                binding::finalize(registry, resource, key, headers, query, body).await
            }
            _ => Err(self.not_allowed()),
        }
    }

    fn not_allowed(&self) -> ApiError {
        let names = &self.resource.kind.names;
        ApiError::method_not_allowed(&names.group, &names.plural, self.method.as_str())
    }
}

/// Images are for those with an identity: nodes pull, people push.
async fn only_known(request: Request<Body>, next: axum::middleware::Next) -> Response {
    if User::of(request.extensions()).is_anonymous() {
        let encoding = negotiate::plain(request.headers());
        return respond::error(&ApiError::unauthorized(), encoding);
    }
    next.run(request).await
}

/// A stream's body, which gives its place back when it ends.
struct Held {
    body: Body,
    _permit: tokio::sync::OwnedSemaphorePermit,
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
