{{- define "pointsman.short" -}}{{ . | trunc 50 | trimSuffix "-" }}{{- end }}
{{- define "pointsman.name" -}}{{ include "pointsman.short" .Release.Name }}{{- end }}
{{- /* Every name by which a Service is asked from within the cluster. */}}
{{- define "pointsman.hosts" -}}
{{ .name }} {{ .name }}.{{ .namespace }} {{ .name }}.{{ .namespace }}.svc {{ .name }}.{{ .namespace }}.svc.cluster.local
{{- end }}
{{- define "pointsman.selector" -}}
app.kubernetes.io/name: pointsman
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "pointsman.labels" -}}
{{ include "pointsman.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
