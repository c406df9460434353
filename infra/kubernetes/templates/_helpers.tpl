{{- /* Most helpers take a list: the root context, the component, and what the helper says. */}}

{{- define "platform.name" -}}
{{- if gt (len (index . 0).Release.Name) 40 }}
{{- fail (printf "the release name %s has %d characters; allowed: 40" (index . 0).Release.Name (len (index . 0).Release.Name)) }}
{{- end -}}
{{ printf "%s-%s" (index . 0).Release.Name (index . 1) }}
{{- end }}

{{- define "platform.image" -}}
{{- with (index . 0).Values.image }}{{ .repository }}/{{ index $ 1 }}:{{ .tag }}{{ end }}
{{- end }}

{{- define "platform.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "platform.labels" -}}
{{ include "platform.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Values.image.tag | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version }}
{{- end }}

{{- define "platform.metadata" -}}
name: {{ include "platform.name" . }}
labels:
  {{- include "platform.labels" . | nindent 2 }}
{{- end }}

{{- /* The Secret of a process: `<release>-<process>` unless the values name another one. */}}
{{- define "platform.secret" -}}
{{ get (index . 0).Values.secrets (index . 1) | default (include "platform.name" .) }}
{{- end }}

{{- define "platform.envFrom" -}}
- secretRef:
    name: {{ include "platform.secret" . }}
{{- end }}

{{- /* Addresses of the services, in the cluster or outside, by the settings' names. */}}
{{- define "platform.addresses" -}}
{{- $v := .Values }}
{{- if and $v.storage.external (ne $v.storage.lake "s3://lake") (eq $v.storage.dataDocs "s3://data-docs") }}
{{- fail (printf "storage.dataDocs is %s, but the other buckets of %s have names of your own: name its bucket" $v.storage.dataDocs $v.storage.external) }}
{{- end }}
PLATFORM_POSTGRES_SERVER: {{ $v.postgres.external | default (printf "%s-postgres:5433" .Release.Name) }}
PLATFORM_API_URL: {{ $v.urls.api | default (printf "http://%s-api:4001" .Release.Name) }}
PLATFORM_DAGSTER_URL: {{ $v.urls.dagster | default (printf "http://%s-dagster-webserver:3000" .Release.Name) }}
PLATFORM_LAKE_URL: {{ $v.storage.lake }}
PLATFORM_MODELS_URL: {{ $v.storage.models }}
PLATFORM_DATA_DOCS_URL: {{ $v.storage.dataDocs }}
AWS_ENDPOINT_URL: {{ $v.storage.external | default (printf "http://%s-minio:9000" .Release.Name) }}
AWS_REGION: {{ $v.storage.region }}
AWS_DEFAULT_REGION: {{ $v.storage.region }}
{{- if not (hasPrefix "https:" $v.storage.external) }}
AWS_ALLOW_HTTP: "true"
{{- end }}
{{- if $v.stream.enabled }}
PLATFORM_KAFKA_SERVERS: {{ $v.kafka.external | default (printf "%s-kafka:9092" .Release.Name) }}
PLATFORM_CONNECT_URL: {{ $v.connect.external | default (printf "http://%s-connect:8083" .Release.Name) }}
PLATFORM_FLINK_URL: {{ $v.flink.external | default (printf "http://%s-flink-jobmanager:8081" .Release.Name) }}
{{- end }}
SPARK_REMOTE: {{ $v.spark.external | default (printf "sc://%s-spark-connect:15002" .Release.Name) }}
{{- end }}

{{- define "platform.storageNames" -}}
AWS_ENDPOINT_URL AWS_REGION AWS_DEFAULT_REGION AWS_ALLOW_HTTP
{{- end }}

{{- /* Entries of `env`: the named addresses that exist. */}}
{{- define "platform.env" -}}
{{- $addresses := include "platform.addresses" (index . 0) | fromYaml }}
{{- range splitList " " (index . 1) }}
{{- if hasKey $addresses . }}
- {name: {{ . }}, value: {{ get $addresses . | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{- /* Entries of `env`: the settings of the values. */}}
{{- define "platform.settings" -}}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- /* What every process of the platform image has: all addresses, and directories to write to. */}}
{{- define "platform.processEnv" -}}
{{- $names := keys (include "platform.addresses" . | fromYaml) | sortAlpha | join " " }}
{{- include "platform.env" (list . $names) }}
{{- include "platform.settings" . }}
- {name: DAGSTER_CODE_HOST, value: {{ include "platform.name" (list . "dagster-code") }}}
{{- if not .Values.stream.enabled }}
# The Secret has addresses of the stream, which the entrypoint then removes.
- {name: PLATFORM_PROFILE, value: demo}
{{- end }}
{{- end }}

{{- /* The job's id, the same after every restart. */}}
{{- define "platform.flinkJob" -}}
{{ printf "%s/%s" .Release.Namespace .Release.Name | sha256sum | trunc 32 }}
{{- end }}

{{- define "platform.dagsterHome" -}}
/var/lib/platform/dagster
{{- end }}

{{- define "platform.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "platform.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* The scheduling of a pod: the value `pod` of a component. */}}
{{- define "platform.scheduling" -}}
{{- range $name := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with get $ $name }}
{{ $name }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The template of a pod up to its containers: root, component, the component's values, and
     optionally the service account of pods that call the API server. */}}
{{- define "platform.pod" -}}
{{- $root := index . 0 }}
{{- $account := "" }}
{{- if gt (len .) 3 }}{{ $account = index . 3 }}{{ end -}}
metadata:
  labels:
    {{- include "platform.selector" . | nindent 4 }}
  {{- with (index . 2).pod.annotations }}
  annotations: {{ toJson . }}
  {{- end }}
spec:
  serviceAccountName: {{ $account | default (printf "%s-process" $root.Release.Name) }}
  automountServiceAccountToken: {{ ne $account "" }}
  enableServiceLinks: false
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets: {{ toJson . }}
  {{- end }}
  securityContext:
    {{- include "platform.podSecurity" . | nindent 4 }}
  {{- include "platform.scheduling" (index . 2).pod | nindent 2 }}
{{- end }}

{{- /* Replicas of a component on different nodes and zones. */}}
{{- define "platform.spread" -}}
topologySpreadConstraints:
  {{- $selector := include "platform.selector" . }}
  {{- $when := (index . 0).Values.spread }}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $when }}
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
  {{- end }}
{{- end }}

{{- /* A container up to its command: root, name, image, resources. */}}
{{- define "platform.container" -}}
- name: {{ index . 1 }}
  image: {{ include "platform.image" (list (index . 0) (index . 2)) }}
  imagePullPolicy: {{ (index . 0).Values.image.pullPolicy }}
  securityContext:
    {{- include "platform.containerSecurity" . | nindent 4 }}
  resources: {{ toJson (index . 3) }}
{{- end }}

{{- /* Directories that a process may write to, lost with the pod. */}}
{{- define "platform.scratchMounts" -}}
- {name: scratch, mountPath: /tmp, subPath: tmp}
- {name: scratch, mountPath: /var/lib/platform, subPath: home}
{{- end }}

{{- /* The runtime would create the directory of a mounted file as root. */}}
{{- define "platform.dagsterMounts" -}}
{{ include "platform.scratchMounts" . }}
- {name: scratch, mountPath: {{ include "platform.dagsterHome" . }}, subPath: dagster}
{{- end }}

{{- define "platform.scratch" -}}
- name: scratch
  emptyDir: {}
{{- end }}

{{- define "platform.tcpProbe" -}}
tcpSocket: {port: {{ . }}}
periodSeconds: 5
timeoutSeconds: 3
{{- end }}

{{- /* A slow start is no failure: ten minutes, as in `make up`. */}}
{{- define "platform.startup" -}}
periodSeconds: 2
timeoutSeconds: 3
failureThreshold: 300
{{- end }}

{{- define "platform.httpProbe" -}}
httpGet: {path: {{ index . 0 }}, port: {{ index . 1 }}}
periodSeconds: 5
timeoutSeconds: 3
{{- end }}

{{- /* Name and port for clients of a component: root, component, map of port names to numbers. */}}
{{- define "platform.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "platform.metadata" . | nindent 2 }}
spec:
  selector:
    {{- include "platform.selector" . | nindent 4 }}
  ports:
    {{- range $name, $port := index . 2 }}
    - {name: {{ $name }}, port: {{ $port }}, targetPort: {{ $name }}}
    {{- end }}
{{- end }}

{{- define "platform.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "platform.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  # A pod that is not ready serves nobody, and must not stop the drain of its node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "platform.selector" . | nindent 6 }}
{{- end }}

{{- /* root, component, the values `autoscaling`. */}}
{{- define "platform.autoscaler" -}}
{{- $scaling := index . 2 -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "platform.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "platform.name" . }}
  minReplicas: {{ $scaling.minReplicas }}
  maxReplicas: {{ $scaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ $scaling.cpuPercent }}}
    {{- with $scaling.lag }}
    {{- if .metric }}
    - type: External
      external:
        metric: {name: {{ .metric }}}
        target: {type: AverageValue, averageValue: {{ .target | quote }}}
    {{- end }}
    {{- end }}
{{- end }}

{{- define "platform.volumeClaim" -}}
- metadata:
    name: data
    labels:
      {{- include "platform.selector" . | nindent 6 }}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with (index . 2).volume.storageClass | default (index . 0).Values.storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ (index . 2).volume.size }}
{{- end }}
