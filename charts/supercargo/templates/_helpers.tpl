{{- define "supercargo.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "supercargo.fullname" -}}
{{- $name := include "supercargo.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "supercargo.serviceAccountName" -}}
{{- default (ternary (include "supercargo.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{/* What a Deployment selects by: never changes within a release. */}}
{{- define "supercargo.selectorLabels" -}}
app.kubernetes.io/name: {{ include "supercargo.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "supercargo.labels" -}}
{{- $labels := include "supercargo.selectorLabels" . | fromYaml }}
{{- $_ := set $labels "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_")) }}
{{- merge $labels .Values.commonLabels | toYaml }}
{{- end }}

{{- define "supercargo.image" -}}
{{- with .Values.image }}
{{- with .registry }}{{ . }}/{{ end }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{/* The rights of the operator in the namespaces it serves; docs/operations/rights.md gives the reason for each. */}}
{{- define "supercargo.rules" -}}
# patch takes off the finalizer of versions before 0.2, and nothing else.
- apiGroups: [supercargo.dev]
  resources: [ociartifacts]
  verbs: [get, list, watch, patch]
- apiGroups: [supercargo.dev]
  resources: [ociartifacts/status]
  verbs: [patch]
# The operator sets no finalizer. Where the admission plug-in OwnerReferencesPermissionEnforcement is on, this right is
# what lets its ConfigMaps and Secrets name an object as an owner that blocks deletion.
- apiGroups: [supercargo.dev]
  resources: [ociartifacts/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
# Read by name when an OCIArtifact names one; never listed, never watched.
- apiGroups: [""]
  resources: [secrets, serviceaccounts]
  verbs: [get]
{{- if .Values.rbac.watchSecrets }}
# For --watch-secrets, which requests metadata only. RBAC has no such right: this right covers the content too.
- apiGroups: [""]
  resources: [secrets]
  verbs: [list, watch]
{{- end }}
{{- if .Values.rbac.secretOutputs }}
# For outputs of kind `secret`. RBAC cannot narrow these to the operator's own Secrets: they cover every one.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, patch, delete]
{{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
