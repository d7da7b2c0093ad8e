{{- define "utcp-bridge.name" -}}
{{- default (ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name)) .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "utcp-bridge.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "utcp-bridge.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{ include "utcp-bridge.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "utcp-bridge.account" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "utcp-bridge.name" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "utcp-bridge.isReplicated" -}}
{{- if or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled }}true{{ end -}}
{{- end -}}

{{/* Refuse values that would start a bridge that does not work, each with one sentence. */}}
{{- define "utcp-bridge.check" -}}
{{- if eq .Values.mode "gateway" -}}
{{- if not (or .Values.insecure (and .Values.secret.name .Values.secret.bearerToken)) }}{{ fail "secret.name: A gateway needs a Secret with the token of its clients. Create it and name it here, or set insecure if something else authenticates." }}{{ end -}}
{{- if and (include "utcp-bridge.isReplicated" .) (not .Values.secret.stateKey) }}{{ fail "secret.stateKey: Several replicas need the same key. Add a random value to the Secret, and name its key here." }}{{ end -}}
{{- end -}}
{{- if and .Values.metrics (eq .Values.mode "gateway") (not .Values.secret.metricsToken) }}{{ fail "secret.metricsToken: Prometheus is not on the same machine, so it needs a token. Add one to the Secret, and name its key here." }}{{ end -}}
{{- if and (not .Values.secret.name) (or .Values.secret.metricsToken .Values.secret.stateKey .Values.secret.redisUrl) }}{{ fail "secret.name: Keys of a Secret are named, but not the Secret. Name it here." }}{{ end -}}
{{- end -}}

{{- define "utcp-bridge.secretFile" -}}
/run/secrets/utcp-bridge/{{ . }}
{{- end -}}

{{- define "utcp-bridge.container" -}}
name: utcp-bridge
image: {{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve, /etc/utcp-bridge/utcp.yaml]
env:
  - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: UTCP_BRIDGE_TRANSPORT, value: http}
  - {name: UTCP_BRIDGE_PORT, value: {{ .Values.port | quote }}}
  - {name: UTCP_BRIDGE_WORKERS, value: {{ .Values.workers | quote }}}
  - {name: UTCP_BRIDGE_DRAIN_SECONDS, value: {{ .Values.drainSeconds | quote }}}
  - {name: UTCP_BRIDGE_LOG_FORMAT, value: json}
  {{- if .Values.metrics }}
  - {name: UTCP_BRIDGE_METRICS, value: "true"}
  {{- end }}
  {{- if eq .Values.mode "gateway" }}
  {{- $name := include "utcp-bridge.name" . }}
  {{- $own := list "$(POD_IP):*" "[$(POD_IP)]:*" }}
  {{- range $host := list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace) (printf "%s.%s.svc.cluster.local" $name .Release.Namespace) }}
  {{- $own = concat $own (list $host (printf "%s:*" $host)) }}
  {{- end }}
  - {name: UTCP_BRIDGE_HOST, value: {{ .Values.host | quote }}}
  {{- $isBehind := or .Values.ingress.enabled .Values.httpRoute.enabled (ne .Values.service.type "ClusterIP") }}
  {{- if and $isBehind (not (contains "max_connections_per_address" (toJson .Values.config))) }}
  # All clients may come from the address of the controller or of the node.
  - {name: UTCP_BRIDGE_MAX_CONNECTIONS_PER_ADDRESS, value: "null"}
  {{- end }}
  {{- $outside := concat (ternary .Values.ingress.hosts list .Values.ingress.enabled) (ternary .Values.httpRoute.hosts list .Values.httpRoute.enabled) }}
  - {name: UTCP_BRIDGE_ALLOWED_HOSTS, value: {{ concat $own .Values.allowedHosts $outside | uniq | join "," | quote }}}
  {{- if .Values.insecure }}
  - {name: UTCP_BRIDGE_INSECURE, value: "true"}
  {{- else }}
  - {name: UTCP_BRIDGE_BEARER_TOKEN_FILE, value: {{ include "utcp-bridge.secretFile" .Values.secret.bearerToken }}}
  {{- end }}
  {{- else }}
  - {name: UTCP_BRIDGE_HOST, value: 127.0.0.1}
  {{- end }}
  {{- with .Values.secret.metricsToken }}
  - {name: UTCP_BRIDGE_METRICS_TOKEN_FILE, value: {{ include "utcp-bridge.secretFile" . }}}
  {{- end }}
  {{- with .Values.secret.stateKey }}
  - {name: UTCP_BRIDGE_STATE_KEY_FILE, value: {{ include "utcp-bridge.secretFile" . }}}
  {{- end }}
  {{- with .Values.secret.redisUrl }}
  - {name: UTCP_BRIDGE_TOKEN_STORE_FILE, value: {{ include "utcp-bridge.secretFile" . }}}
  - {name: UTCP_BRIDGE_STORE_FILE, value: {{ include "utcp-bridge.secretFile" . }}}
  - {name: UTCP_BRIDGE_SEARCH_MEMORY, value: disk}
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if eq .Values.mode "gateway" }}
ports:
  - {name: http, containerPort: {{ .Values.port }}}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  failureThreshold: 30
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- if .Values.preStopSeconds }}
lifecycle:
  preStop: {exec: {command: [sleep, {{ .Values.preStopSeconds | quote }}]}}
{{- end }}
{{- else }}
restartPolicy: Always
startupProbe:
  exec: {command: [utcp-bridge, health, --ready]}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 30
livenessProbe:
  exec: {command: [utcp-bridge, health]}
  periodSeconds: 30
  timeoutSeconds: 5
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
  - {name: utcp-bridge-config, mountPath: /etc/utcp-bridge, readOnly: true}
  {{- if .Values.secret.name }}
  - {name: utcp-bridge-secret, mountPath: /run/secrets/utcp-bridge, readOnly: true}
  {{- end }}
  - {name: utcp-bridge-tmp, mountPath: /tmp}
  - {name: utcp-bridge-home, mountPath: /var/lib/utcp-bridge}
{{- end -}}
