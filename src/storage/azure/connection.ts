import type { TokenCredential } from "@azure/identity";
import type { ContainerClient, StoragePipelineOptions, StorageSharedKeyCredential } from "@azure/storage-blob";
import { DEFAULT_REDIRECT_EXPIRY_MS, type ObjectStoreDeps } from "../object-store/deps.ts";
import { HttpClient } from "../object-store/http-client.ts";
import type { AzureOptions } from "./options.ts";
import { DelegatedSigner, SharedKeySigner, type UrlSigner } from "./signer.ts";
import { SdkTransport } from "./transport.ts";

const DEFAULT_SILENCE_MS = 60_000;

/** What a driver is given besides its options. The SDK itself reads the variables AZURE_* for `client_secret` and `default_credentials`. */
export interface AzureDeps extends ObjectStoreDeps {
  /** How long the store may be silent; default one minute. */
  readonly silenceMs?: number;
}

/** How a container is reached. */
export interface AzureConnection {
  readonly client: ContainerClient;
  readonly transport: SdkTransport;
  readonly signer: UrlSigner;
}

/** Loads the SDK and makes a client. Nothing is sent. @throws Error for credentials that cannot be used */
export async function openConnection(options: AzureOptions, deps: AzureDeps): Promise<AzureConnection> {
  const sdk = await import("@azure/storage-blob");
  const endpoint = endpointOf(options);
  const http = new HttpClient({ silenceMs: deps.silenceMs ?? DEFAULT_SILENCE_MS, proxyEnv: isThisHost(endpoint) ? {} : (deps.env ?? {}), skipVerify: options.skipverify });
  const transport = new SdkTransport(http);
  const userAgent = options.useragent || deps.userAgent;
  const pipeline: StoragePipelineOptions = {
    // The type is that of a whole client; the SDK uses no more of it than this.
    httpClient: transport as unknown as NonNullable<StoragePipelineOptions["httpClient"]>,
    // What failed is tried again here, by those who know what an answer that got lost may mean.
    retryOptions: { maxTries: 1 },
    ...(userAgent === undefined ? {} : { userAgentOptions: { userAgentPrefix: userAgent } }),
  };
  const key = sharedKeyOf(options, sdk.StorageSharedKeyCredential);
  const service = new sdk.BlobServiceClient(endpoint, sdk.newPipeline(key ?? (await tokenCredentialOf(options)), pipeline));
  const signing = { sdk, account: options.accountname, container: options.container, expiryMs: deps.redirectExpiryMs ?? DEFAULT_REDIRECT_EXPIRY_MS };
  return {
    client: service.getContainerClient(options.container),
    transport,
    signer: key === undefined ? new DelegatedSigner(service, signing, deps.log) : new SharedKeySigner(key, signing),
  };
}

function endpointOf({ serviceurl, accountname, realm }: AzureOptions): string {
  return serviceurl?.replace(/\/+$/, "") || `https://${accountname}.blob.${realm}`;
}

function sharedKeyOf({ accountname, accountkey, credentials }: AzureOptions, Credential: typeof StorageSharedKeyCredential): StorageSharedKeyCredential | undefined {
  if (accountkey === undefined || (credentials.type ?? "shared_key") !== "shared_key") return undefined;
  return new Credential(accountname, accountkey);
}

/** Who we are to the directory. Asks for tokens when they are needed, keeps them, and renews them. */
async function tokenCredentialOf({ credentials }: AzureOptions): Promise<TokenCredential> {
  const { ClientSecretCredential, DefaultAzureCredential } = await import("@azure/identity");
  const { type, tenantid, clientid, secret } = credentials;
  if (type !== "client_secret") return new DefaultAzureCredential();
  if (tenantid === undefined || clientid === undefined || secret === undefined) throw new Error("storage.azure.credentials: client_secret needs tenantid, clientid and secret");
  return new ClientSecretCredential(tenantid, clientid, secret);
}

/** As programs in Go do, this host is asked without a proxy. */
function isThisHost(endpoint: string): boolean {
  return URL.canParse(endpoint) && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(new URL(endpoint).hostname);
}
